//! Avro's schema resolution, worked out once per writer schema: what each byte of a writer's record
//! means to our schema. Written here because apache-avro 0.22 resolves records of a union by their
//! shape (an `EndSession` becomes a `StartSession`) and trusts a writer schema with the stack and
//! the heap. Knows no bytes ([`super::read`] does); fails with why a writer schema does not resolve.

use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, EnumSchema, InnerDecimalSchema, NamesRef, NamespaceRef, RecordField,
    RecordSchema, ResolvedSchema, UnionSchema, UuidSchema,
};
use serde_json::Value;

/// The longest schema text that is looked at; ours have under 10 KiB.
const MAX_TEXT: usize = 256 * 1024;
/// How deep a schema may nest; ours nest 5 deep.
const MAX_DEPTH: usize = 32;
/// How many types a schema may have with every reference written out; ours have under 100.
const MAX_NODES: usize = 10_000;
/// The largest `fixed` that a value of 64 KiB could hold.
const MAX_FIXED: usize = 64 * 1024;

/// Why a writer schema does not resolve to ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Mismatch(String);

fn mismatch<T>(reason: impl Into<String>) -> Result<T, Mismatch> {
    Err(Mismatch(reason.into()))
}

/// How to read what a writer wrote as what our schema says.
#[derive(Debug)]
pub(super) enum Plan {
    /// A zigzag varint that fits 32 bits.
    Int,
    /// A zigzag varint.
    Long,
    /// A length and UTF-8 bytes.
    Text,
    /// A writer's symbol number to our symbol; `None`: unknown to us, and our enum has no default.
    Enum(Vec<Option<Box<str>>>),
    /// Our nullable is null; no bytes.
    Null,
    /// Our nullable has a value.
    Present(Box<Plan>),
    /// Our union's record of that name.
    Branch(Box<str>, Box<Plan>),
    /// The writer's union: a branch number, then what that branch means to us.
    Union(Vec<Result<Plan, Mismatch>>),
    /// The writer's fields in the writer's order; our other fields take their defaults.
    Record(Vec<Step>),
    /// Blocks of items.
    Array(Box<Plan>),
}

/// One field of a writer's record.
#[derive(Debug)]
pub(super) enum Step {
    /// A field we have.
    Field(Box<str>, Plan),
    /// A field we have not.
    Skip(Skip),
}

/// How to pass over what a writer wrote.
#[derive(Debug)]
pub(super) enum Skip {
    /// A varint.
    Varint,
    /// So many bytes.
    Bytes(usize),
    /// A length and so many bytes.
    Counted,
    /// Blocks of items, behind their keys in a map.
    Blocks { keyed: bool, item: Box<Skip> },
    /// One after the other.
    All(Vec<Skip>),
    /// A branch number, then that branch.
    Union(Vec<Skip>),
}

/// Resolves the writer schema `text` to `reader`, one of ours.
pub(super) fn resolve(text: &str, reader: &Schema) -> Result<Plan, Mismatch> {
    let writer = parsed(text)?;
    let (writer_names, reader_names) = (names(&writer)?, names(reader)?);
    let mut resolver = Resolver::new(writer_names.get_names(), reader_names.get_names());
    resolver.plan(&writer, None, reader, None)
}

/// Whether a value of the writer schema `text` nests no deeper than ours may.
pub(super) fn bounded(text: &str) -> Result<(), Mismatch> {
    let writer = parsed(text)?;
    let names = names(&writer)?;
    let mut resolver = Resolver::new(names.get_names(), names.get_names());
    resolver.skip(&writer, None).map(drop)
}

/// Whether `text` is an Avro schema on its own.
pub(super) fn is_schema(text: &str) -> bool {
    parsed(text).is_ok()
}

fn parsed(text: &str) -> Result<Schema, Mismatch> {
    if text.len() > MAX_TEXT {
        return mismatch(format!("its text has {} bytes", text.len()));
    }
    // The parser reads a bare name and a JSON string alike.
    let mut json: Value =
        serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
    forget_what_does_not_bind(&mut json);
    Schema::parse(&json).map_err(|_| Mismatch("it is no Avro schema on its own".to_owned()))
}

fn names(schema: &Schema) -> Result<ResolvedSchema<'_>, Mismatch> {
    ResolvedSchema::new(schema).map_err(|_| Mismatch("a name in it is not defined".to_owned()))
}

/// Takes defaults and words out of a writer schema: resolution never looks at them, and the parser
/// follows defaults without a bound.
fn forget_what_does_not_bind(json: &mut Value) {
    match json {
        Value::Object(object) => {
            object.retain(|key, _| !matches!(key.as_str(), "default" | "doc" | "aliases"));
            object.values_mut().for_each(forget_what_does_not_bind);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_what_does_not_bind),
        _ => {}
    }
}

struct Resolver<'a> {
    writer_names: &'a NamesRef<'a>,
    reader_names: &'a NamesRef<'a>,
    nodes: usize,
    depth: usize,
}

/// The unqualified name of a named type: resolution compares names without their namespace.
fn unqualified(schema: &Schema) -> Option<&str> {
    match schema {
        Schema::Record(RecordSchema { name, .. })
        | Schema::Enum(EnumSchema { name, .. })
        | Schema::Ref { name } => Some(name.name()),
        _ => None,
    }
}

impl<'a> Resolver<'a> {
    fn new(writer_names: &'a NamesRef<'a>, reader_names: &'a NamesRef<'a>) -> Self {
        Self {
            writer_names,
            reader_names,
            nodes: 0,
            depth: 0,
        }
    }

    /// Counts one more type and one more level. A recursive schema ends here as well: references
    /// are followed as if they were written out.
    fn enter(&mut self) -> Result<(), Mismatch> {
        self.nodes += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return mismatch(format!(
                "it nests deeper than {MAX_DEPTH} types or is recursive"
            ));
        }
        if self.nodes > MAX_NODES {
            return mismatch(format!("it has more than {MAX_NODES} types"));
        }
        Ok(())
    }

    fn plan(
        &mut self,
        writer: &'a Schema,
        writer_space: NamespaceRef<'_>,
        reader: &'a Schema,
        reader_space: NamespaceRef<'_>,
    ) -> Result<Plan, Mismatch> {
        self.enter()?;
        let plan = self.matched(writer, writer_space, reader, reader_space);
        self.depth -= 1;
        plan
    }

    fn matched(
        &mut self,
        writer: &'a Schema,
        writer_space: NamespaceRef<'_>,
        reader: &'a Schema,
        reader_space: NamespaceRef<'_>,
    ) -> Result<Plan, Mismatch> {
        if let Schema::Ref { name } = writer {
            let name = name.fully_qualified_name(writer_space);
            let Some(target) = self.writer_names.get(name.as_ref()).copied() else {
                return mismatch("a name in it is not defined");
            };
            return self.plan(target, name.namespace(), reader, reader_space);
        }
        if let Schema::Ref { name } = reader {
            let name = name.fully_qualified_name(reader_space);
            let target = self.reader_names.get(name.as_ref()).copied();
            let target = target.expect("the names of our schemas are defined: they were resolved");
            return self.plan(writer, writer_space, target, name.namespace());
        }
        match (writer, reader) {
            (Schema::Union(union), _) => {
                let branches: Vec<_> = union
                    .variants()
                    .iter()
                    .map(|branch| self.plan(branch, writer_space, reader, reader_space))
                    .collect();
                match branches.first() {
                    None => mismatch("it has a union without branches"),
                    Some(Err(reason)) if branches.iter().all(Result::is_err) => Err(reason.clone()),
                    Some(_) => Ok(Plan::Union(branches)),
                }
            }
            (_, Schema::Union(union)) => self.branch(writer, writer_space, union, reader_space),
            (Schema::Record(writer), Schema::Record(reader)) => {
                self.record(writer, writer_space, reader, reader_space)
            }
            (Schema::Array(writer), Schema::Array(reader)) => {
                let item = self.plan(&writer.items, writer_space, &reader.items, reader_space)?;
                Ok(Plan::Array(Box::new(item)))
            }
            (Schema::Enum(writer), Schema::Enum(reader)) => symbols(writer, reader),
            (Schema::Int, Schema::Int) => Ok(Plan::Int),
            // An instant in another unit or without a zone is refused: read as milliseconds it would
            // be a wrong one, not a bad one.
            (Schema::Int | Schema::Long, Schema::Long | Schema::TimestampMillis)
            | (Schema::TimestampMillis, Schema::TimestampMillis) => Ok(Plan::Long),
            (Schema::String | Schema::Bytes | Schema::Uuid(UuidSchema::String), Schema::String) => {
                Ok(Plan::Text)
            }
            _ => mismatch("a type in it is another than ours"),
        }
    }

    /// What is not a union, as a branch of our union: a nullable value, or a record by its name.
    fn branch(
        &mut self,
        writer: &'a Schema,
        writer_space: NamespaceRef<'_>,
        union: &'a UnionSchema,
        reader_space: NamespaceRef<'_>,
    ) -> Result<Plan, Mismatch> {
        if matches!(writer, Schema::Null) {
            return if union.is_nullable() {
                Ok(Plan::Null)
            } else {
                mismatch("it has null where ours has a value")
            };
        }
        for reader in union
            .variants()
            .iter()
            .filter(|branch| !matches!(branch, Schema::Null))
        {
            if union.is_nullable() {
                return self
                    .plan(writer, writer_space, reader, reader_space)
                    .map(|plan| Plan::Present(Box::new(plan)));
            }
            if let Some(name) =
                unqualified(reader).filter(|_| unqualified(writer) == unqualified(reader))
            {
                return self
                    .plan(writer, writer_space, reader, reader_space)
                    .map(|plan| Plan::Branch(name.into(), Box::new(plan)));
            }
        }
        mismatch(format!(
            "its branch {} is not in our union",
            unqualified(writer).unwrap_or("without a name")
        ))
    }

    fn record(
        &mut self,
        writer: &'a RecordSchema,
        writer_space: NamespaceRef<'_>,
        reader: &'a RecordSchema,
        reader_space: NamespaceRef<'_>,
    ) -> Result<Plan, Mismatch> {
        let (writer_name, reader_name) = (
            writer.name.fully_qualified_name(writer_space),
            reader.name.fully_qualified_name(reader_space),
        );
        if writer_name.name() != reader_name.name() {
            return mismatch(format!(
                "its record {} stands where ours has {}",
                writer_name.name(),
                reader_name.name()
            ));
        }
        let ours = |field: &RecordField| reader.fields.iter().find(|ours| ours.name == field.name);
        let mut steps = Vec::with_capacity(writer.fields.len());
        for field in &writer.fields {
            steps.push(match ours(field) {
                Some(ours) => Step::Field(
                    ours.name.as_str().into(),
                    self.plan(
                        &field.schema,
                        writer_name.namespace(),
                        &ours.schema,
                        reader_name.namespace(),
                    )
                    .map_err(|reason| Mismatch(format!("{}: {reason}", ours.name)))?,
                ),
                None => Step::Skip(self.skip(&field.schema, writer_name.namespace())?),
            });
        }
        let missing = reader
            .fields
            .iter()
            .filter(|ours| ours.default.is_none())
            .find(|ours| !writer.fields.iter().any(|field| field.name == ours.name));
        match missing {
            Some(field) => mismatch(format!("it has no field {}", field.name)),
            None => Ok(Plan::Record(steps)),
        }
    }

    fn skip(&mut self, writer: &'a Schema, space: NamespaceRef<'_>) -> Result<Skip, Mismatch> {
        self.enter()?;
        let skip = self.skipped(writer, space);
        self.depth -= 1;
        skip
    }

    fn skipped(&mut self, writer: &'a Schema, space: NamespaceRef<'_>) -> Result<Skip, Mismatch> {
        Ok(match writer {
            Schema::Null => Skip::Bytes(0),
            Schema::Boolean => Skip::Bytes(1),
            Schema::Float => Skip::Bytes(4),
            Schema::Double => Skip::Bytes(8),
            Schema::Int
            | Schema::Long
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos
            | Schema::Enum(_) => Skip::Varint,
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::String | UuidSchema::Bytes)
            | Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Bytes,
                ..
            }) => Skip::Counted,
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema {
                inner: InnerDecimalSchema::Fixed(fixed),
                ..
            }) => {
                if fixed.size > MAX_FIXED {
                    return mismatch(format!("it has a fixed of {} bytes", fixed.size));
                }
                Skip::Bytes(fixed.size)
            }
            Schema::Array(array) => Skip::Blocks {
                keyed: false,
                item: Box::new(self.skip(&array.items, space)?),
            },
            Schema::Map(map) => Skip::Blocks {
                keyed: true,
                item: Box::new(self.skip(&map.types, space)?),
            },
            Schema::Union(union) => Skip::Union(
                union
                    .variants()
                    .iter()
                    .map(|branch| self.skip(branch, space))
                    .collect::<Result<_, _>>()?,
            ),
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(space);
                Skip::All(
                    record
                        .fields
                        .iter()
                        .map(|field| self.skip(&field.schema, name.namespace()))
                        .collect::<Result<_, _>>()?,
                )
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(space);
                let Some(target) = self.writer_names.get(name.as_ref()).copied() else {
                    return mismatch("a name in it is not defined");
                };
                self.skip(target, name.namespace())?
            }
        })
    }
}

fn symbols(writer: &EnumSchema, reader: &EnumSchema) -> Result<Plan, Mismatch> {
    if writer.name.name() != reader.name.name() {
        return mismatch(format!(
            "its enum {} stands where ours has {}",
            writer.name.name(),
            reader.name.name()
        ));
    }
    let ours = |symbol: &String| {
        let known = reader.symbols.iter().find(|ours| *ours == symbol);
        known
            .or(reader.default.as_ref())
            .map(|symbol| symbol.as_str().into())
    };
    Ok(Plan::Enum(writer.symbols.iter().map(ours).collect()))
}
