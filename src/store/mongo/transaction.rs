//! One batch, one transaction: the compare-and-set of the lane first, then the rest, then the
//! commit, which alone is ever retried. Whatever fails before the commit is aborted, so that no lock
//! outlives its batch; whatever happens in the commit is asked for until it is certain.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{Acknowledgment, ReadConcern, TransactionOptions, WriteConcern};
use mongodb::{ClientSession, Database};
use tokio::time::Instant;

use super::client::{Timeouts, bounded, primary};
use super::failure::{Failure, code, written};
use super::indexes::USERS;
use super::statement::{Expect, Step, releasable};
use crate::domain::UserId;
use crate::store::{Conflict, Error};

/// The pause between two questions about one commit.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// A transaction about to run in `session`.
pub(crate) struct Transaction<'a> {
    pub(crate) database: &'a Database,
    pub(crate) session: &'a mut ClientSession,
    pub(crate) timeouts: &'a Timeouts,
}

/// Why the statements of a batch were not carried out.
enum Interruption {
    /// The database failed.
    Failed(Failure),
    /// A reply said that the state is not what the batch was decided on.
    Outdated(Error),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Transaction<'_> {
    /// Carries out `steps`, all or nothing.
    ///
    /// # Errors
    /// Any [`Error`]; after all but [`Error::Unknown`] nothing was committed and no lock is left.
    pub(crate) async fn run(&mut self, steps: Vec<Step>) -> Result<(), Error> {
        let carried_out = match self.begin().await {
            Ok(()) => self.carry_out(steps).await,
            Err(failure) => Err(Interruption::Failed(failure)),
        };
        match carried_out {
            Ok(()) => self.commit().await,
            Err(Interruption::Outdated(error)) => {
                self.abandon(false).await;
                Err(error)
            }
            Err(Interruption::Failed(failure)) => {
                self.abandon(matches!(failure, Failure::Timeout(_))).await;
                Err(failure.uncommitted())
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where a batch's transaction begins"
    )]
    async fn begin(&mut self) -> Result<(), Failure> {
        let majority = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .w_timeout(self.timeouts.commit)
            .build();
        let options = TransactionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .write_concern(majority)
            .selection_criteria(primary())
            .build();
        // A commit that its caller gave up leaves its transaction behind in this session.
        let _ = bounded(self.timeouts.cleanup, self.session.abort_transaction()).await;
        bounded(
            self.timeouts.call,
            self.session.start_transaction().with_options(options),
        )
        .await
    }

    async fn carry_out(&mut self, steps: Vec<Step>) -> Result<(), Interruption> {
        for Step { command, expect } in steps {
            let call = self
                .database
                .run_raw_command(command)
                .session(&mut *self.session);
            let replied = bounded(self.timeouts.call, call).await;
            let count = match replied.and_then(|reply| written(&reply)) {
                Err(failure) if failure.code() == Some(code::DUPLICATE_KEY) => {
                    return Err(expect.unmet());
                }
                count => count?,
            };
            let met = match &expect {
                Expect::Any => true,
                Expect::TheLane => count == 1,
                Expect::Exactly(expected, _) => count == *expected,
                Expect::Users(expected, released) => {
                    count == *expected || count + self.missing_users(released).await? == *expected
                }
            };
            if !met {
                return Err(expect.unmet());
            }
        }
        Ok(())
    }

    /// How many of `users` have no document that a release could change.
    async fn missing_users(&mut self, users: &[UserId]) -> Result<i64, Failure> {
        let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let total = i64::try_from(ids.len()).expect("a batch has fewer users");
        let users = self.database.collection::<RawDocumentBuf>(USERS);
        let count = users.count_documents(releasable(doc! { "_id": { "$in": ids } }));
        let known = bounded(self.timeouts.call, count.session(&mut *self.session)).await?;
        Ok(total - i64::try_from(known).expect("no more than were asked for"))
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let until = Instant::now() + self.timeouts.commit;
        loop {
            let limit = self.timeouts.commit_attempt.min(until - Instant::now());
            let failure = match bounded(limit, self.session.commit_transaction()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            // With this label the server vouches that the transaction is gone.
            if failure.has_label(TRANSIENT_TRANSACTION_ERROR) {
                return Err(failure.uncommitted());
            }
            let open = matches!(failure, Failure::Timeout(_))
                || failure.has_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
            if !open || Instant::now() + ASK_AGAIN >= until {
                return Err(Error::unknown(failure));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Ends the transaction. After a silence the server may still be at a statement and the driver
    /// may not know that it ever began, so that the session is killed first.
    async fn abandon(&mut self, silent: bool) {
        if silent {
            let lsid = self.session.id().clone();
            let _ = kill(self.database, &lsid, self.timeouts.cleanup).await;
        }
        let _ = bounded(self.timeouts.cleanup, self.session.abort_transaction()).await;
    }
}

impl Expect {
    fn unmet(&self) -> Interruption {
        Interruption::Outdated(match self {
            Self::TheLane => Error::Fenced,
            Self::Exactly(_, conflict) => Error::Conflict(*conflict),
            Self::Users(..) => Error::Conflict(Conflict::User),
            Self::Any => Error::Conflict(Conflict::Contention),
        })
    }
}

/// Ends whatever runs in the server session `lsid`, and frees the locks of its transaction.
pub(crate) async fn kill(
    database: &Database,
    lsid: &Document,
    limit: Duration,
) -> Result<(), Failure> {
    let admin = database.client().database("admin");
    let kill = admin.run_command(doc! { "killSessions": [lsid.clone()] });
    bounded(limit, kill.selection_criteria(primary()))
        .await
        .map(|_| ())
}
