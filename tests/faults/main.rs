//! The table of faults (docs/faults.md): what stands still, what goes on meanwhile, and how long it takes
//! until all is whole again, each on real parts (contract 3, guarantee 7). `cargo test` runs a few rows;
//! `FAULTS=all cargo test --test faults -- --nocapture` runs all of them and writes the page.
#![expect(
    clippy::disallowed_methods,
    reason = "tests play the outside world: its ids and its clock are their own"
)]

#[path = "../it/worker/client.rs"]
#[expect(dead_code, reason = "what only tests/it needs")]
mod client;
mod database;
#[path = "../it/worker/deployment.rs"]
#[expect(dead_code, reason = "what only tests/it needs")]
mod deployment;
mod load;
mod log;
#[path = "../it/protected/permissions.rs"]
#[expect(dead_code, reason = "what only tests/it needs")]
mod permissions;
mod processes;
#[path = "../it/registry/proxy.rs"]
#[expect(dead_code, reason = "what only tests/it needs")]
mod proxy;
mod registry;
mod scene;
mod services;
mod start;
mod table;
mod topics;

/// Where the files of tests/it expect them.
mod worker {
    pub(crate) use crate::deployment;
}

use futures::FutureExt as _;

use crate::table::{Extent, Row, Selection};

/// A row whose run is a function of this crate.
macro_rules! row {
    ($extent:ident, $run:path, $fault:literal) => {
        Row {
            fault: $fault,
            extent: Extent::$extent,
            run: || $run().boxed(),
        }
    };
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        row!(Nothing, log::emptied, "retention empties a partition, the worker is down"),
        row!(Intake, log::deleted_before_a_running_worker, "records are deleted before they are read, the worker runs"),
        row!(Intake, log::deleted_before_a_stopped_worker, "records are deleted before they are read, the worker is down"),
        row!(Intake, log::recreated, "an input topic is recreated"),
        row!(Intake, log::damaged_record, "a damaged batch of one record"),
        row!(Intake, log::damaged_batch, "a damaged batch of 20 records"),
        row!(Nothing, log::zstd, "a sender compresses with zstd"),
        row!(Nothing, log::marker, "a transaction's marker and an aborted record end a partition"),
        row!(Intake, processes::crash_loop, "five owners of a partition have died while they read it"),
        row!(Session, database::participant_deleted, "the document of a participant is gone"),
        row!(Session, database::newer_end_reason, "the document of a session has an `endReason` of a newer version"),
        row!(User, database::user_spoiled, "the document of a user cannot be read"),
        row!(Command, database::ledger_spoiled, "the ledger's entry of a command cannot be read"),
        row!(Database, database::server_errors, "MongoDB answers 8000, 371 and 8, 3 s each"),
        row!(Database, database::writes_blocked, "MongoDB blocks writes for 15 s (`setUserWriteBlockMode`)"),
        row!(Database, database::frozen, "MongoDB is frozen for 10 s"),
        row!(Election, database::step_down, "the primary steps down"),
        row!(Election, database::primary_killed, "the primary is killed"),
        row!(Nothing, registry::first_url_is_empty, "the first registry URL knows no subject"),
        row!(Nothing, registry::first_url_answers_502, "the first registry URL answers 502"),
        row!(Intake, registry::frozen, "the registry does not answer, and a sender uses a new schema"),
        row!(Nothing, registry::three_register_at_once, "three workers start at once on an empty registry"),
        row!(Records, topics::dead_letters_refused, "WRITE on `session-dead-letter` is revoked"),
        row!(Records, topics::events_refused, "WRITE on `session-event` is revoked"),
        row!(Reading, topics::reading_refused, "READ on `session-command` is revoked"),
        row!(Broker, topics::group_refused, "READ on the group is revoked"),
        row!(Broker, processes::broker_restarted, "the broker restarts under load"),
        row!(Broker, processes::broker_killed, "the broker is killed under load"),
        row!(Start, start::no_primary, "MongoDB has no primary at the start"),
        row!(Start, start::no_broker, "the broker is down at the start"),
        row!(Start, start::no_registry, "the registry does not answer at the start"),
        row!(Process, processes::killed, "kill -9 of one of two workers under load"),
        row!(Process, processes::frozen, "one of two workers is frozen for 15 s"),
        row!(Process, processes::stopped_at_once, "SIGTERM twice to one of two workers"),
        row!(Nothing, processes::crowd, "576 readers hold every connection"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_stops_only_what_it_touches_and_leaves_no_trace() {
    table::run(rows(), Selection::of_environment()).await;
}

#[test]
fn the_page_shows_every_row() {
    table::is_written(&rows());
}
