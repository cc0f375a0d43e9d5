//! What was published, read back: by the writer's schema, by ours where the registry is silent, and
//! never as something it is not.

use futures::FutureExt as _;

use super::support::*;
use crate::record::{OutRecord, TopicNames};
use crate::wire::*;

fn published(out: OutRecord) -> Record {
    Record {
        key: out.key,
        headers: out.headers,
        ..record(&out.topic, out.value.expect("outputs have values"))
    }
}

fn reader() -> (Reader, Codec, std::sync::Arc<MemoryRegistry>) {
    let (codec, registry) = codec();
    registry.register("session-event", IDS.event, SESSION_EVENT);
    registry.register("session-command-result", IDS.result, SESSION_COMMAND_RESULT);
    let reader = Reader::new(&TopicNames::default(), registry.clone());
    (reader, codec, registry)
}

fn event(reader: &mut Reader, record: &Record) -> Result<SentEvent, Unread> {
    let ready = reader.event(record).now_or_never();
    ready.expect("the registry in memory never waits")
}

#[test]
fn an_event_and_a_result_read_back() {
    let (mut reader, codec, _) = reader();
    let join = a_join();
    let found = event(&mut reader, &published(codec.event(&join, None))).expect("it is read");
    assert_eq!(found.r#type, "participant.joined");
    assert_eq!(found.sequence, join.sequence);
    assert_eq!(found.occurred_at, join.occurred_at.0);
    let participant = join.participant.as_ref().expect("who joined");
    assert_eq!(
        found.participant.map(|found| found.user_id).as_deref(),
        Some(participant.user_id.as_str())
    );

    let result =
        CommandResult::internal_error(&Message::Command(a_command(actions().swap_remove(2))), NOW);
    let record = published(codec.result(&result, &Passthrough::default()));
    let found = reader.result(&record).now_or_never();
    let found = found.expect("ready").expect("it is read");
    assert_eq!(found.code.as_deref(), Some("internal_error"));
    assert_eq!(found.command_id, "c-1");
    assert_eq!(found.decided_at, NOW.0);
}

#[test]
fn a_silent_registry_is_asked_once_and_ours_is_tried() {
    let (mut reader, codec, registry) = reader();
    registry.fail(Some("down"));
    let record = published(codec.event(&a_join(), None));
    for _ in 0..3 {
        event(&mut reader, &record).expect("our schema reads it");
    }
    assert_eq!(reader.registry_fault(), Some("down"));
    let asked = registry.asked.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(asked, 1);
}

#[test]
fn what_is_another_value_is_not_taken_for_an_event() {
    let (mut reader, codec, _) = reader();
    let good = published(codec.event(&a_join(), None));
    let mut forged = good.clone();
    let value = forged.value.as_mut().expect("a value");
    // The first character of the eventId, which derives from session and sequence.
    value[6] = if value[6] == b'0' { b'1' } else { b'0' };
    let mut longer = good.clone();
    longer.value.as_mut().expect("a value").push(0);
    let bare = record("session-event", "{}");
    for bad in [forged, longer, bare] {
        assert!(event(&mut reader, &bad).is_err(), "{bad:?}");
    }
    assert!(event(&mut reader, &good).is_ok());
}
