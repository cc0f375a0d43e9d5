//! Schemas with references, as one text: the referenced schemas are fetched, within bounds, and
//! inlined where they are used first. `schema_registry_converter` has no bounds for this, and does not
//! handle full names or a name that is used twice.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use futures::future::BoxFuture;
use schema_registry_converter::schema_registry_common::RegisteredReference;
use serde_json::{Map, Value};

use super::fault::{Fault, FaultKind};
use super::node::Node;

/// How many schemas one schema may reference, directly and indirectly.
const MAX_SCHEMAS: usize = 64;
/// How many schemas a chain of references may have.
const MAX_CHAIN: usize = 16;
/// How many bytes the referenced schemas may have together.
const MAX_BYTES: usize = 1024 * 1024;
/// How deep the result may nest. The JSON parser allows 128 levels.
const MAX_DEPTH: usize = 120;

/// `text` with its references inlined. Beyond the bounds it is returned unchanged: it does not parse
/// on its own, so its records are undecodable.
pub(super) async fn inline(
    node: &Node,
    text: String,
    references: &[RegisteredReference],
) -> Result<String, Fault> {
    if references.is_empty() {
        return Ok(text);
    }
    let mut gathered = Gathered::default();
    gathered.add(node, references, &mut Vec::new()).await?;
    if gathered.beyond {
        return Ok(text);
    }
    Ok(inlined(&text, &gathered.texts).unwrap_or(text))
}

/// The referenced schemas.
#[derive(Default)]
struct Gathered {
    seen: HashSet<(String, u32)>,
    texts: Vec<String>,
    bytes: usize,
    beyond: bool,
}

impl Gathered {
    /// Fetches `references` and theirs. `chain` is the path of references that leads here.
    fn add<'a>(
        &'a mut self,
        node: &'a Node,
        references: &'a [RegisteredReference],
        chain: &'a mut Vec<(String, u32)>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            for reference in references {
                let place = (reference.subject.clone(), reference.version);
                if chain.contains(&place) {
                    let (subject, version) = place;
                    let detail = format!(
                        "version {version} of {subject} refers to itself through its references"
                    );
                    return Err(node.fault(FaultKind::Failing, detail));
                }
                if self.seen.contains(&place) {
                    continue;
                }
                if self.seen.len() >= MAX_SCHEMAS || chain.len() >= MAX_CHAIN {
                    self.beyond = true;
                    return Ok(());
                }
                let (text, further) = node.referenced(reference).await?;
                self.seen.insert(place.clone());
                self.bytes += text.len();
                if self.bytes > MAX_BYTES {
                    self.beyond = true;
                    return Ok(());
                }
                self.texts.push(text);
                chain.push(place);
                self.add(node, &further, chain).await?;
                chain.pop();
                if self.beyond {
                    return Ok(());
                }
            }
            Ok(())
        }
        .boxed()
    }
}

/// `text` with the named types of `others` inlined; `None` if that is not possible.
fn inlined(text: &str, others: &[String]) -> Option<String> {
    let mut types = HashMap::new();
    for other in others {
        let other: Value = serde_json::from_str(other).ok()?;
        collect(&other, "", &mut types);
    }
    let schema: Value = serde_json::from_str(text).ok()?;
    let mut inliner = Inliner {
        types,
        defined: HashSet::new(),
    };
    let schema = inliner.write(&schema, "", 0)?;
    serde_json::to_string(&schema).ok()
}

/// A named type and the namespace around it.
type Definition = (Map<String, Value>, String);

/// The full name that `object` defines, and its namespace.
fn definition(object: &Map<String, Value>, space: &str) -> Option<(String, String)> {
    let kind = object.get("type")?.as_str()?;
    if !matches!(kind, "record" | "error" | "enum" | "fixed") {
        return None;
    }
    let name = object.get("name")?.as_str()?;
    let space = object
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(space);
    let full = qualified(name, space);
    let own = full.rsplit_once('.').map_or("", |(space, _)| space);
    let own = own.to_owned();
    Some((full, own))
}

fn qualified(name: &str, space: &str) -> String {
    match name.strip_prefix('.') {
        Some(name) => name.to_owned(),
        None if name.contains('.') || space.is_empty() => name.to_owned(),
        None => format!("{space}.{name}"),
    }
}

/// Collects the named types in `schema`. The JSON parser bounds its depth.
fn collect(schema: &Value, space: &str, types: &mut HashMap<String, Definition>) {
    match schema {
        Value::Array(branches) => {
            for branch in branches {
                collect(branch, space, types);
            }
        }
        Value::Object(object) => {
            let mut inside = space.to_owned();
            if let Some((full, own)) = definition(object, space) {
                types
                    .entry(full)
                    .or_insert_with(|| (object.clone(), space.to_owned()));
                inside = own;
            }
            for schema in parts(object) {
                collect(schema, &inside, types);
            }
        }
        _ => {}
    }
}

/// The schemas directly inside a schema.
fn parts(object: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let fields = object.get("fields").and_then(Value::as_array);
    let fields = fields
        .into_iter()
        .flatten()
        .filter_map(|field| field.get("type"));
    let others = ["type", "items", "values"].into_iter();
    others.filter_map(|key| object.get(key)).chain(fields)
}

/// Copies a schema and inlines named types at their first use.
struct Inliner {
    types: HashMap<String, Definition>,
    defined: HashSet<String>,
}

impl Inliner {
    fn write(&mut self, schema: &Value, space: &str, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        match schema {
            Value::String(name) => self.named(name, space, depth),
            Value::Array(branches) => branches
                .iter()
                .map(|branch| self.write(branch, space, depth + 1))
                .collect(),
            Value::Object(object) => self.object(object, space, depth),
            other => Some(other.clone()),
        }
    }

    /// A name: of a primitive type, of a type that is already defined, or of one to inline here.
    fn named(&mut self, name: &str, space: &str, depth: usize) -> Option<Value> {
        // As in Java, a name that its namespace does not have is one without a namespace.
        for full in [qualified(name, space), name.to_owned()] {
            if self.defined.contains(&full) {
                return Some(reference(&full));
            }
            if let Some((object, around)) = self.types.get(&full).cloned() {
                return self.object(&object, &around, depth);
            }
        }
        Some(Value::String(name.to_owned()))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str, depth: usize) -> Option<Value> {
        let mut written = object.clone();
        let mut inside = space.to_owned();
        if let Some((full, own)) = definition(object, space) {
            if !self.defined.insert(full.clone()) {
                return Some(reference(&full));
            }
            let name = full.rsplit('.').next().unwrap_or_default();
            written.insert("name".to_owned(), Value::String(name.to_owned()));
            written.insert("namespace".to_owned(), Value::String(own.clone()));
            inside = own;
        } else if let Some(schema) = object.get("type") {
            written.insert("type".to_owned(), self.write(schema, space, depth + 1)?);
        }
        for key in ["items", "values"] {
            if let Some(schema) = object.get(key) {
                written.insert(key.to_owned(), self.write(schema, &inside, depth + 1)?);
            }
        }
        if let Some(Value::Array(fields)) = written.get_mut("fields") {
            for field in fields {
                if let Some(schema) = field.get_mut("type") {
                    *schema = self.write(schema, &inside, depth + 2)?;
                }
            }
        }
        Some(Value::Object(written))
    }
}

/// A full name that the enclosing namespace does not change.
fn reference(full: &str) -> Value {
    let dot = if full.contains('.') { "" } else { "." };
    Value::String(format!("{dot}{full}"))
}
