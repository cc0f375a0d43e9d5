//! The stores keep one contract: the same scenarios run on memory and on MongoDB; what only a real
//! database can do (fail, block, step down, choose a plan) is tested on MongoDB alone.

mod connecting;
mod contract;
mod damage;
mod faults;
mod owners;
mod plans;
mod reading;
mod scene;
mod spoil;
mod unreadable;
mod views;

use session_worker::store::memory::MemoryStore;
use session_worker::store::mongo::{MongoStore, Options};
use tokio::sync::OnceCell;

use crate::services;

/// One database a test run, so that indexes are made once; scenes keep their ids apart.
async fn mongo() -> MongoStore {
    mongo_with(&Options::default()).await
}

async fn mongo_with(options: &Options) -> MongoStore {
    static READY: OnceCell<()> = OnceCell::const_new();
    let database = format!("store_{}", std::process::id());
    let store = MongoStore::connect_with(&services::mongo_uri(), &database, options)
        .await
        .expect("the replica set answers");
    READY
        .get_or_init(|| async {
            store
                .ensure_indexes()
                .await
                .expect("a new database takes the indexes");
        })
        .await;
    store
}

/// A database of its own, called `name`: what is read whole, or spoiled, is no other test's.
async fn alone(name: &str) -> MongoStore {
    let database = format!("store_{name}_{}", std::process::id());
    let store = MongoStore::connect(&services::mongo_uri(), &database)
        .await
        .expect("connected");
    store
        .ensure_indexes()
        .await
        .expect("a new database takes the indexes");
    store
}

macro_rules! on_both_stores {
    ($($scenario:ident),* $(,)?) => {
        mod on_memory {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::contract::$scenario(&super::MemoryStore::new()).await;
                }
            )*
        }

        mod on_mongo {
            $(
                #[tokio::test]
                async fn $scenario() {
                    let _undisturbed = super::services::undisturbed().await;
                    super::contract::$scenario(&super::mongo().await).await;
                }
            )*
        }
    };
}

on_both_stores! {
    a_new_lane_is_unread,
    what_a_batch_saves_is_loaded_again,
    what_was_never_saved_is_absent,
    a_changed_session_is_loaded_as_changed,
    a_session_of_another_home_is_only_located,
    an_older_owner_is_fenced_and_changes_nothing,
    a_refenced_lane_goes_on_where_it_was,
    a_session_is_saved_only_over_the_version_that_was_read,
    a_new_session_conflicts_with_one_of_its_id,
    ac2_an_invite_code_belongs_to_one_session_for_ever,
    ac9_a_user_is_saved_only_over_the_version_that_was_read,
    ac9_places_are_freed_whatever_else_the_user_holds,
    a_message_is_judged_once,
    a_forgotten_message_may_be_judged_again,
    a_conflict_leaves_nothing_behind_and_the_handle_usable,
    a_batch_with_nothing_but_its_position_is_a_batch,
    the_outbox_is_read_byte_for_byte_and_in_order,
    acknowledged_batches_are_published_no_more,
    a_forward_counts_only_as_it_was_sent,
    deadlines_are_those_of_the_home_and_not_ended,
    contract_4_an_unreadable_document_affects_only_who_asks_for_it,
    contract_4_an_unreadable_deadline_hides_no_other,
    contract_4_a_session_ends_whatever_a_users_document_is_like,
    a_settled_forward_is_known_as_settled,
    what_a_commit_collides_with_is_named,
    deaths_count_until_there_is_progress,
    an_older_owner_notes_nothing,
    a_revision_is_seen_by_who_looks_for_it,
}
