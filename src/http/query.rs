//! What may stand behind the `?` (contract 5): every parameter known, given once and empty or well-formed,
//! or the request is answered 400 with words that name the parameter. An empty value counts as absent.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::domain::{Timestamp, UserId, is_language_tag};

/// How many lines a page has where nobody asks for another number.
const PAGE: u16 = 20;
/// How many it has at most.
const LARGEST_PAGE: u16 = 100;
/// How many seats a session has at most.
const SEATS: u16 = 6;

/// The parameters as they came, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Takes the query of a URL apart.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if !is_percent_encoded(text) {
            return Err(Problem::invalid(
                "the query has a % without two hexadecimal digits behind it",
            ));
        }
        if percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .is_err()
        {
            return Err(Problem::invalid("the query is not UTF-8"));
        }
        let pairs = form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect();
        Ok(Self { pairs })
    }

    /// Takes the one value of `name` out, if it is there and not empty.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let (mut taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pairs)
            .into_iter()
            .partition(|(key, _)| key == name);
        self.pairs = rest;
        if taken.len() > 1 {
            return Err(Problem::invalid(format!("{name} is given more than once")));
        }
        let value = taken.pop().map(|(_, value)| value);
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// The parameters as `T` knows them.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let pairs = self
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), Value { name, text: value }));
        T::deserialize(MapDeserializer::new(pairs))
            .map_err(|error: ValueError| Problem::invalid(error.to_string()))
    }

    /// The same query with another cursor.
    pub(super) fn with_cursor(&self, cursor: &str) -> String {
        let others = self.pairs.iter().filter(|(name, _)| name != "cursor");
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", cursor)
            .finish()
    }
}

/// Whether every `%` begins an escape; the parsers would take another one for itself.
pub(super) fn is_percent_encoded(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

/// A value that names its parameter when it does not do.
struct Value<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let text: de::value::BorrowedStrDeserializer<'de, ValueError> =
            de::value::BorrowedStrDeserializer::new(self.text);
        text.deserialize_any(visitor)
            .map_err(|error| self.named(&error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.text.is_empty() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let text: de::value::BorrowedStrDeserializer<'de, ValueError> =
            de::value::BorrowedStrDeserializer::new(self.text);
        text.deserialize_enum(name, variants, visitor)
            .map_err(|error| self.named(&error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> de::IntoDeserializer<'de, ValueError> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Value<'_> {
    fn named(&self, error: &ValueError) -> ValueError {
        let text = error.to_string();
        if text.starts_with(self.name) {
            return error.clone();
        }
        de::Error::custom(format_args!("{}: {text}", self.name))
    }
}

/// `status` in queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It has not started.
    Waiting,
    /// It has started and not ended.
    Active,
    /// It is over.
    Ended,
}

/// How many lines a page has at most: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(u16);

impl Limit {
    /// As a number of lines.
    pub(super) fn lines(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE)
    }
}

/// A number of seats: 1 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seats(u16);

impl Seats {
    /// As a number.
    pub(super) fn number(self) -> i32 {
        i32::from(self.0)
    }
}

/// A language tag of BCP 47 shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LanguageTag(pub(super) String);

/// A user's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedUser(pub(super) UserId);

/// An instant of RFC 3339, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(pub(super) Timestamp);

fn plain_number(text: &str, range: RangeInclusive<u16>) -> Option<u16> {
    // Not "+5", which `parse` takes, too.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain)?;
    range.contains(&number).then_some(number)
}

/// Reads a value from its text, or says what it must be.
macro_rules! from_text {
    ($type:ident, $expects:literal, $parse:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expects)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        let parse: fn(&str) -> Option<$type> = $parse;
                        parse(text).ok_or_else(|| E::custom(concat!("must be ", $expects)))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

from_text!(Limit, "a whole number from 1 to 100", |text| {
    plain_number(text, 1..=LARGEST_PAGE).map(Limit)
});
from_text!(Seats, "a whole number from 1 to 6", |text| {
    plain_number(text, 1..=SEATS).map(Seats)
});
from_text!(
    NamedUser,
    "a user's id of 1 to 128 characters, none of control",
    |text| UserId::parse(text).ok().map(NamedUser)
);
from_text!(LanguageTag, "a language tag of BCP 47 shape", |text| {
    is_language_tag(text).then(|| LanguageTag(text.to_owned()))
});
from_text!(
    Instant,
    "an instant of RFC 3339 such as 2026-01-31T00:00:00Z (write + as %2B)",
    |text| {
        let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        // Joins are whole milliseconds, so both bounds of a span mean the next one.
        let millis = -(-instant.unix_timestamp_nanos()).div_euclid(1_000_000);
        i64::try_from(millis).ok().map(Timestamp).map(Instant)
    }
);

/// The parameters of a history.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Lines a page, at most; a page may have fewer and still not be the last.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<Limit>,
    /// `nextCursor` of the page before, with the same filters.
    pub(super) cursor: Option<String>,
    /// Sessions of this status only.
    #[param(inline)]
    pub(super) status: Option<Status>,
    /// Sessions of exactly this language only.
    #[param(value_type = Option<String>, pattern = "^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$", max_length = 35, example = "fr")]
    pub(super) target_language_code: Option<LanguageTag>,
    /// First joined at this instant or later.
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-01T00:00:00Z")]
    pub(super) from: Option<Instant>,
    /// First joined before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(super) to: Option<Instant>,
    /// Whose history, if not the caller's: takes the scope `sessions:read:any`.
    #[param(
        value_type = Option<String>,
        max_length = 128,
        pattern = r"^([^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*)?$",
    )]
    pub(super) user_id: Option<NamedUser>,
}

/// The parameters of the list of public sessions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Lines a page, at most.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<Limit>,
    /// `nextCursor` of the page before, with the same filters.
    pub(super) cursor: Option<String>,
    /// Sessions of this status only.
    #[param(inline)]
    pub(super) status: Option<Status>,
    /// Sessions of exactly this language only.
    #[param(value_type = Option<String>, pattern = "^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$", max_length = 35, example = "fr")]
    pub(super) target_language_code: Option<LanguageTag>,
    /// Sessions with so many free seats or more only; one that is over has none.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 6)]
    pub(super) min_seats: Option<Seats>,
}

/// The parameters of the readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadinessQuery {
    /// What it is asked for: absent, for all work; `reads`, for the reads alone.
    #[serde(rename = "for")]
    #[param(inline)]
    pub(super) purpose: Option<Purpose>,
}

/// `for` of a readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Reads over HTTP.
    Reads,
}

/// Of paths that take none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        let query = Query::parse(text).map_err(|problem| problem.detail().to_owned())?;
        query.read().map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn contract_5_a_history_takes_seven_parameters_and_none_is_needed() {
        let nothing: HistoryQuery = read("").expect("no parameter is needed");
        assert_eq!(nothing.limit.unwrap_or_default().lines(), 20);
        let empty = "limit=&cursor=&status=&targetLanguageCode=&from=&to=&userId=";
        assert_eq!(read(empty), Ok(nothing), "an empty value counts as absent");
        let text = "limit=100&cursor=abc&status=ended&targetLanguageCode=pt-BR\
                    &from=2026-01-31T23:00:00.5%2B02:00&to=2026-02-01T00:00:00z&userId=%20ann";
        let all: HistoryQuery = read(text).expect("all are well-formed");
        assert_eq!(
            all,
            HistoryQuery {
                limit: Some(Limit(100)),
                cursor: Some("abc".to_owned()),
                status: Some(Status::Ended),
                target_language_code: Some(LanguageTag("pt-BR".to_owned())),
                from: Some(Instant(Timestamp(1_769_893_200_500))),
                to: Some(Instant(Timestamp(1_769_904_000_000))),
                user_id: UserId::parse("ann").ok().map(NamedUser),
            }
        );
    }

    #[test]
    fn contract_5_an_unknown_or_bad_parameter_is_named() {
        let cases = [
            ("limit=0", "limit: must be a whole number from 1 to 100"),
            ("limit=101", "limit: must be a whole number from 1 to 100"),
            ("limit=-1", "limit: must be a whole number from 1 to 100"),
            ("limit=%2B5", "limit: must be a whole number from 1 to 100"),
            (
                "limit=99999999999",
                "limit: must be a whole number from 1 to 100",
            ),
            ("limit=5&limit=5", "duplicate field `limit`"),
            (
                "status=Ended",
                "status: unknown variant `Ended`, expected one of `waiting`, `active`, `ended`",
            ),
            ("limit=&limit=5", "duplicate field `limit`"),
            (
                "targetLanguageCode=f",
                "targetLanguageCode: must be a language tag of BCP 47 shape",
            ),
            (
                "targetLanguageCode[$ne]=fr",
                "unknown field `targetLanguageCode[$ne]`, expected one of `limit`, `cursor`, \
                 `status`, `targetLanguageCode`, `from`, `to`, `userId`",
            ),
            (
                "from=yesterday",
                "from: must be an instant of RFC 3339 such as 2026-01-31T00:00:00Z (write + as %2B)",
            ),
            (
                "to=2026-01-31T00:00:00+01:00",
                "to: must be an instant of RFC 3339 such as 2026-01-31T00:00:00Z (write + as %2B)",
            ),
            (
                "userId=a%00b",
                "userId: must be a user's id of 1 to 128 characters, none of control",
            ),
            ("cursor=%FF", "the query is not UTF-8"),
            (
                "cursor=%4",
                "the query has a % without two hexadecimal digits behind it",
            ),
            (
                "cursor=%+1",
                "the query has a % without two hexadecimal digits behind it",
            ),
        ];
        for (text, words) in cases {
            assert_eq!(read::<HistoryQuery>(text), Err(words.to_owned()), "{text}");
        }
        assert!(read::<ListQuery>("from=2026-01-31T00:00:00Z").is_err());
        let list: ListQuery = read("minSeats=6").expect("it is well-formed");
        assert_eq!(list.min_seats.map(Seats::number), Some(6));
        for seats in ["0", "7", "-1", "%2B1", "one"] {
            let words = Err("minSeats: must be a whole number from 1 to 6".to_owned());
            assert_eq!(read::<ListQuery>(&format!("minSeats={seats}")), words);
        }
        assert!(read::<NoQuery>("limit=5").is_err());
        assert_eq!(read::<NoQuery>(""), Ok(NoQuery {}));
    }

    #[test]
    fn contract_5_a_bound_between_two_milliseconds_means_the_next() {
        let cases = [
            ("1970-01-01T00:00:00.001Z", 1),
            ("1970-01-01T00:00:00.001000001Z", 2),
            ("1970-01-01T00:00:00.0009Z", 1),
            ("1969-12-31T23:59:59.9985Z", -1),
        ];
        for (text, millis) in cases {
            let query: HistoryQuery = read(&format!("from={text}")).expect("well-formed");
            assert_eq!(query.from, Some(Instant(Timestamp(millis))), "{text}");
        }
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let query = Query::parse("status=ended&cursor=old&userId=a%26b").expect("well-formed");
        let next = query.with_cursor("new");
        assert_eq!(next, "status=ended&userId=a%26b&cursor=new");
    }
}
