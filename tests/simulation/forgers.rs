//! Senders who write `sw-forward` themselves: malformed, invented, or copied from what the worker wrote.
//! The header gives no authority, so each record comes to what it would come to without it; only an exact
//! copy of a forward comes to nothing.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use session_worker::record::{Header, OutRecord};

use crate::broker::Place;
use crate::learners::{Draft, Kind, Learners, record};
use crate::outputs;

const FORWARD: &str = "sw-forward";

impl Learners {
    /// A forged record. `forwards`: those that the worker wrote.
    pub(crate) fn forge(&mut self, forwards: &[(Place, OutRecord)]) -> Draft {
        let real = forwards.choose(&mut self.rng);
        let real = real.map(|(_, real)| real.clone());
        match (self.rng.random_range(0..8), real) {
            (0, Some(real)) => self.conflicting(real),
            (1, Some(real)) => self.misdirected(real),
            (2 | 3, Some(real)) => self.copied(real),
            (4 | 5, real) => {
                let header = self.header(real.as_ref());
                self.admit_match(header)
            }
            (_, real) => {
                let mut draft = self.command();
                draft.record.headers = self.header(real.as_ref()).into_iter().collect();
                draft
            }
        }
    }

    /// A header that is absent, malformed, invented or copied.
    fn header(&mut self, real: Option<&OutRecord>) -> Option<Header> {
        let text = match (self.rng.random_range(0..4), real) {
            (0, _) => return None,
            (1, _) => {
                let malformed = [
                    "",
                    "session-command/0/0",
                    "session-command/00/1/1",
                    "x/-1/2/3",
                ];
                (*malformed.choose(&mut self.rng).expect("four")).to_owned()
            }
            (2, Some(real)) => return real.headers.iter().find(|(n, _)| n == FORWARD).cloned(),
            _ => {
                let (partition, offset) =
                    (self.rng.random_range(0..3), self.rng.random_range(0..50));
                format!("session-command/{partition}/{offset}/1")
            }
        };
        Some((FORWARD.to_owned(), Some(text.into_bytes())))
    }

    /// An `AdmitMatch` of the forger's own.
    fn admit_match(&mut self, header: Option<Header>) -> Draft {
        let (id, value) = self.found_value();
        let value = json!({
            "commandId": id, "issuedAt": 0, "userId": "", "command": {"AdmitMatch": value},
        });
        let mut record = record("session-command", &id, value.to_string().into_bytes());
        record.headers = header.into_iter().collect();
        Draft {
            record,
            kind: Kind::Forbidden,
        }
    }

    /// A copy of a forward to its home; the number of hops may be invented.
    fn copied(&mut self, mut real: OutRecord) -> Draft {
        if self.rng.random_bool(0.5) {
            for (name, value) in &mut real.headers {
                if name == FORWARD
                    && let Some(value) = value
                {
                    value.pop();
                    value.push(b'3');
                }
            }
        }
        Draft {
            record: real,
            kind: Kind::Copy,
        }
    }

    /// A copy of a forward to a partition that it was not sent to.
    fn misdirected(&mut self, mut real: OutRecord) -> Draft {
        let (id, is_match) = outputs::forwarded(real.value.as_deref());
        let home = real.partition.expect("forwards name their partition");
        real.partition = Some((home + 1) % crate::world::PARTITIONS);
        let kind = if is_match {
            Kind::Forbidden
        } else {
            Kind::Message(id)
        };
        Draft { record: real, kind }
    }

    /// A forward's header and id on another content.
    fn conflicting(&mut self, mut real: OutRecord) -> Draft {
        let (id, is_match) = outputs::forwarded(real.value.as_deref());
        if is_match {
            return self.copied(real);
        }
        let value = real.value.as_deref().expect("a value");
        let mut value: Value = serde_json::from_slice(value).expect("JSON");
        let forger = format!("forger-{}", self.rng.random_range(0..3));
        if let Some(subject) = self.subjects.get_mut(&id) {
            subject.users.push(forger.clone());
        }
        value["userId"] = json!(forger);
        real.value = Some(value.to_string().into_bytes());
        Draft {
            record: real,
            kind: Kind::Message(id),
        }
    }
}
