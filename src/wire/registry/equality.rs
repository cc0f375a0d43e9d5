//! Whether two texts are spellings of the same schema. The order of keys, white space, documentation
//! and attributes that Avro does not define do not matter. Names, types, symbols, defaults and aliases
//! do.

use apache_avro::Schema;
use apache_avro::schema::{Alias, NamespaceRef};
use serde_json::{Value, json};

use crate::wire::resolve;

/// Whether `theirs`, a text of the registry, is the schema `ours`.
pub(super) fn is_same(theirs: &str, ours: &str) -> bool {
    if theirs == ours {
        return true;
    }
    // The parser has no bound of its own for schemas and their defaults.
    if resolve::bounded(theirs).is_err() {
        return false;
    }
    let (Ok(theirs), Ok(ours)) = (Schema::parse_str(theirs), Schema::parse_str(ours)) else {
        return false;
    };
    canonical(&theirs, None) == canonical(&ours, None)
}

fn canonical(schema: &Schema, space: NamespaceRef<'_>) -> Value {
    match schema {
        Schema::Record(record) => {
            let name = record.name.fully_qualified_name(space);
            let inside = name.namespace();
            let fields = record.fields.iter().map(|field| {
                let mut aliases = field.aliases.clone();
                aliases.sort_unstable();
                json!({
                    "name": field.name,
                    "aliases": aliases,
                    // No default and the default null are different.
                    "default": field.default.as_ref().map(|value| json!([value])),
                    "type": canonical(&field.schema, inside),
                })
            });
            json!({
                "record": name.as_ref().as_ref(),
                "aliases": aliases(record.aliases.as_deref(), inside),
                "fields": fields.collect::<Vec<_>>(),
            })
        }
        Schema::Enum(symbols) => {
            let name = symbols.name.fully_qualified_name(space);
            json!({
                "enum": name.as_ref().as_ref(),
                "aliases": aliases(symbols.aliases.as_deref(), name.namespace()),
                "symbols": symbols.symbols,
                "default": symbols.default,
            })
        }
        Schema::Fixed(fixed) => {
            let name = fixed.name.fully_qualified_name(space);
            json!({
                "fixed": name.as_ref().as_ref(),
                "aliases": aliases(fixed.aliases.as_deref(), name.namespace()),
                "size": fixed.size,
            })
        }
        Schema::Array(array) => json!({ "array": canonical(&array.items, space) }),
        Schema::Map(map) => json!({ "map": canonical(&map.types, space) }),
        Schema::Union(union) => union
            .variants()
            .iter()
            .map(|branch| canonical(branch, space))
            .collect(),
        Schema::Ref { name } => json!(name.fully_qualified_name(space).as_ref().as_ref()),
        // Primitive and logical types, which hold no others.
        leaf => json!({ "leaf": serde_json::to_value(leaf).unwrap_or_default() }),
    }
}

fn aliases(aliases: Option<&[Alias]>, space: NamespaceRef<'_>) -> Vec<String> {
    let aliases = aliases.unwrap_or_default().iter();
    let mut names: Vec<_> = aliases.map(|alias| alias.fullname(space)).collect();
    names.sort_unstable();
    names
}
