//! Reads an Avro value by its [`Plan`], straight into our input shapes. Every length is checked
//! against the bytes that are there, every step and every allocation against a budget, so that no
//! bytes cost more than the budget, whatever their writer schema says; fails with why, no payload.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::resolve::{Plan, Skip, Step};
use super::schema::MAX_ALLOCATION;

/// How many types one value may visit. A type may have no bytes (an array of nulls), so their number
/// is not bounded by the payload's.
const MAX_STEPS: usize = 512 * 1024;
/// What one item of an array is taken to allocate: no less than the largest of our items, doubled
/// for the growth of its vector.
const ITEM_ALLOCATION: usize = 64;

/// Why bytes are no value of their schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable(String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Undecodable {}

impl de::Error for Undecodable {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(reason.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }
}

fn undecodable<T>(reason: impl Into<String>) -> Result<T, Undecodable> {
    Err(Undecodable(reason.into()))
}

/// Reads `bytes`, the whole of them, by `plan`.
pub(super) fn read<T: DeserializeOwned>(plan: &Plan, bytes: &[u8]) -> Result<T, Undecodable> {
    let mut input = Input {
        rest: bytes,
        steps: MAX_STEPS,
        allocation: MAX_ALLOCATION,
    };
    let value = T::deserialize(Reading {
        plan,
        input: &mut input,
    })?;
    if input.rest.is_empty() {
        Ok(value)
    } else {
        undecodable(format!("{} bytes behind the value", input.rest.len()))
    }
}

/// What is left: bytes, steps, memory.
struct Input<'b> {
    rest: &'b [u8],
    steps: usize,
    allocation: usize,
}

impl<'b> Input<'b> {
    fn step(&mut self) -> Result<(), Undecodable> {
        match self.steps.checked_sub(1) {
            Some(steps) => {
                self.steps = steps;
                Ok(())
            }
            None => undecodable(format!("more than {MAX_STEPS} parts")),
        }
    }

    fn allocate(&mut self, bytes: usize) -> Result<(), Undecodable> {
        match self.allocation.checked_sub(bytes) {
            Some(allocation) => {
                self.allocation = allocation;
                Ok(())
            }
            None => undecodable(format!("more than {MAX_ALLOCATION} bytes when decoded")),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Undecodable> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => undecodable("the bytes end within the value"),
        }
    }

    fn long(&mut self) -> Result<i64, Undecodable> {
        let mut zigzag = 0_u64;
        for (index, byte) in self.rest.iter().enumerate() {
            // The tenth byte has room for one bit only.
            if index == 9 && *byte > 1 {
                return undecodable("a number of more than 64 bits");
            }
            zigzag |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        undecodable("the bytes end within the value")
    }

    fn int(&mut self) -> Result<i32, Undecodable> {
        i32::try_from(self.long()?).or_else(|_| undecodable("a number of more than 32 bits"))
    }

    fn counted(&mut self) -> Result<&'b [u8], Undecodable> {
        let Ok(length) = usize::try_from(self.long()?) else {
            return undecodable("a negative length");
        };
        self.take(length)
    }

    fn text(&mut self) -> Result<&'b str, Undecodable> {
        let text = self.counted()?;
        self.allocate(text.len())?;
        std::str::from_utf8(text).or_else(|_| undecodable("a string that is not UTF-8"))
    }

    fn branch<'p, T>(&mut self, branches: &'p [T]) -> Result<&'p T, Undecodable> {
        let branch = usize::try_from(self.long()?)
            .ok()
            .and_then(|branch| branches.get(branch));
        branch.ok_or_else(|| Undecodable("a branch that its union does not have".to_owned()))
    }

    /// The number of items in the next block, 0 at the end.
    fn block(&mut self) -> Result<u64, Undecodable> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes: for readers that pass over it unread.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn skip(&mut self, skip: &Skip) -> Result<(), Undecodable> {
        self.step()?;
        match skip {
            Skip::Varint => self.long().map(drop),
            Skip::Bytes(count) => self.take(*count).map(drop),
            Skip::Counted => self.counted().map(drop),
            Skip::All(parts) => parts.iter().try_for_each(|part| self.skip(part)),
            Skip::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)
            }
            Skip::Blocks { keyed, item } => loop {
                let count = self.block()?;
                if count == 0 {
                    return Ok(());
                }
                for _ in 0..count {
                    if *keyed {
                        self.counted()?;
                    }
                    self.skip(item)?;
                }
            },
        }
    }
}

/// A plan at its place in the input.
struct Reading<'p, 'i, 'b> {
    plan: &'p Plan,
    input: &'i mut Input<'b>,
}

impl<'de> de::Deserializer<'de> for Reading<'_, '_, '_> {
    type Error = Undecodable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        let Self { plan, input } = self;
        input.step()?;
        match plan {
            Plan::Int => visitor.visit_i32(input.int()?),
            Plan::Long => visitor.visit_i64(input.long()?),
            Plan::Text => visitor.visit_str(input.text()?),
            Plan::Enum(symbols) => match input.branch(symbols)? {
                Some(symbol) => visitor.visit_str(symbol),
                None => undecodable("a symbol that our enum does not have"),
            },
            Plan::Null => visitor.visit_none(),
            Plan::Present(plan) => visitor.visit_some(Reading { plan, input }),
            Plan::Branch(name, plan) => visitor.visit_enum(Branch { name, plan, input }),
            Plan::Union(branches) => match input.branch(branches)? {
                Ok(plan) => Reading { plan, input }.deserialize_any(visitor),
                Err(reason) => undecodable(format!("the writer schema does not resolve: {reason}")),
            },
            Plan::Record(steps) => visitor.visit_map(Fields {
                steps: steps.iter(),
                value: None,
                input,
            }),
            Plan::Array(item) => visitor.visit_seq(Items {
                item,
                left: 0,
                input,
            }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct Fields<'p, 'i, 'b> {
    steps: std::slice::Iter<'p, Step>,
    value: Option<&'p Plan>,
    input: &'i mut Input<'b>,
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_, '_> {
    type Error = Undecodable;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Undecodable> {
        for step in self.steps.by_ref() {
            match step {
                Step::Skip(skip) => self.input.skip(skip)?,
                Step::Field(name, plan) => {
                    self.value = Some(plan);
                    let name: StrDeserializer<'_, Undecodable> = (&**name).into_deserializer();
                    return seed.deserialize(name).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Undecodable> {
        let plan = self
            .value
            .take()
            .expect("serde asks for a value behind its key only");
        seed.deserialize(Reading {
            plan,
            input: self.input,
        })
    }
}

struct Items<'p, 'i, 'b> {
    item: &'p Plan,
    left: u64,
    input: &'i mut Input<'b>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Undecodable;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Undecodable> {
        if self.left == 0 {
            self.left = self.input.block()?;
            if self.left == 0 {
                return Ok(None);
            }
        }
        self.left -= 1;
        self.input.allocate(ITEM_ALLOCATION)?;
        seed.deserialize(Reading {
            plan: self.item,
            input: self.input,
        })
        .map(Some)
    }
}

struct Branch<'p, 'i, 'b> {
    name: &'p str,
    plan: &'p Plan,
    input: &'i mut Input<'b>,
}

impl<'de, 'p, 'i, 'b> de::EnumAccess<'de> for Branch<'p, 'i, 'b> {
    type Error = Undecodable;
    type Variant = Body<'p, 'i, 'b>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Undecodable> {
        let name: StrDeserializer<'_, Undecodable> = self.name.into_deserializer();
        let branch = seed.deserialize(name)?;
        Ok((
            branch,
            Body(Reading {
                plan: self.plan,
                input: self.input,
            }),
        ))
    }
}

/// The record in a branch.
struct Body<'p, 'i, 'b>(Reading<'p, 'i, 'b>);

impl<'de> de::VariantAccess<'de> for Body<'_, '_, '_> {
    type Error = Undecodable;

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Undecodable> {
        seed.deserialize(self.0)
    }

    fn unit_variant(self) -> Result<(), Undecodable> {
        undecodable("a branch without a record")
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Undecodable> {
        undecodable("a branch that is a tuple")
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        de::Deserializer::deserialize_any(self.0, visitor)
    }
}
