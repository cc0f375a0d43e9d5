//! The hundred learners: each group is a script that acts on the answers it gets. A refusal is part
//! of the play; a missing answer is a fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::{Value as Json, json};

use super::stage::Stage;

const ROOMS: usize = 12;
const TRIOS: usize = 12;
const LANGUAGES: [&str; 4] = ["fr", "es", "pt-BR", "ja"];

/// Lets everybody act until nobody begins anew; returns when all are done.
pub(super) async fn crowd(stage: &Arc<Stage>, until: Instant) {
    let mut scripts: FuturesUnordered<BoxFuture<'_, anyhow::Result<()>>> = FuturesUnordered::new();
    for index in 0..ROOMS {
        scripts.push(Box::pin(rooms(stage, index, until)));
    }
    for index in 0..TRIOS {
        scripts.push(Box::pin(trios(stage, index, until)));
    }
    scripts.push(Box::pin(guesser(stage)));
    scripts.push(Box::pin(opener(stage)));
    scripts.push(Box::pin(regular(stage)));
    scripts.push(Box::pin(impatient(stage)));
    while let Some(ended) = scripts.next().await {
        if let Err(error) = ended {
            stage.ledger().fault(format!("{error:#}"));
        }
    }
}

/// Five learners and a private session of four seats, again and again.
async fn rooms(stage: &Stage, index: usize, until: Instant) -> anyhow::Result<()> {
    let mut pace = Pace(index as u64 + 1);
    pace.pause(3000).await;
    for round in 0..10 {
        if Instant::now() > until {
            break;
        }
        room(stage, index, index + round, &mut pace).await?;
    }
    Ok(())
}

async fn room(stage: &Stage, index: usize, kind: usize, pace: &mut Pace) -> anyhow::Result<()> {
    let users: Vec<_> = (0..5)
        .map(|seat| format!("room{index:02}-{seat}"))
        .collect();
    let create = json!({"CreatePrivateSession": {
        "sessionId": null,
        "targetLanguageCode": LANGUAGES[index % LANGUAGES.len()],
        "topicId": "food",
        "topicTitle": "Food and drink",
        "maxParticipants": 4,
    }});
    let created = stage.ask(&users[0], &users[0], create).await?;
    let (Some(session), Some(code)) = (text(&created, "sessionId"), text(&created, "inviteCode"))
    else {
        pace.pause(2000).await;
        return Ok(());
    };
    // The fifth finds no seat.
    for user in &users[1..] {
        stage
            .ask(
                user,
                user,
                json!({"JoinSession": {"inviteCode": code.to_lowercase()}}),
            )
            .await?;
        pace.pause(400).await;
    }
    // Only the host may start.
    let start = json!({"StartSession": {"sessionId": session}});
    stage.ask(&users[1], &session, start.clone()).await?;
    stage.ask(&users[0], &session, start).await?;
    for user in &users[..4] {
        connect(stage, user, &session).await?;
    }
    for seconds in 1..=3 {
        pace.pause(1200).await;
        for user in &users[..4] {
            let report = json!({"ReportSpeakingTime": {"sessionId": session, "speakingTimeSeconds": seconds}});
            stage.ask(user, &session, report).await?;
        }
    }
    // One drops and comes back, one drops and stays away, one leaves and comes back by code.
    let dropped = drop_out(stage, &users[1], &session);
    dropped.await?;
    drop_out(stage, &users[2], &session).await?;
    leave(stage, &users[3], &session).await?;
    pace.pause(1000).await;
    connect(stage, &users[1], &session).await?;
    stage
        .ask(
            &users[3],
            &users[3],
            json!({"JoinSession": {"inviteCode": code}}),
        )
        .await?;
    let end = json!({"EndSession": {"sessionId": session}});
    match kind % 3 {
        0 => {
            // Whoever is in longest becomes host, and may end it.
            leave(stage, &users[0], &session).await?;
            pace.pause(2500).await;
            stage.ask(&users[1], &session, end).await?;
        }
        1 => {
            pace.pause(3500).await;
            stage.ask(&users[0], &session, end).await?;
        }
        // Its time runs out by itself.
        _ => pace.pause(4000).await,
    }
    Ok(())
}

/// Three matched learners, again and again.
async fn trios(stage: &Stage, index: usize, until: Instant) -> anyhow::Result<()> {
    let mut pace = Pace(index as u64 + 101);
    pace.pause(3000).await;
    let users: Vec<_> = (0..3)
        .map(|seat| format!("trio{index:02}-{seat}"))
        .collect();
    for round in 0..10 {
        if Instant::now() > until {
            break;
        }
        let found = stage
            .matched(&users, LANGUAGES[index % LANGUAGES.len()])
            .await?;
        let Some(session) = text(&found, "sessionId").filter(|_| found["outcome"] == "accepted")
        else {
            pace.pause(3000).await;
            continue;
        };
        for user in &users {
            connect(stage, user, &session).await?;
            pace.pause(500).await;
        }
        drop_out(stage, &users[2], &session).await?;
        pace.pause(1500).await;
        connect(stage, &users[2], &session).await?;
        for user in users.iter().filter(|_| (index + round).is_multiple_of(2)) {
            pace.pause(700).await;
            leave(stage, user, &session).await?;
        }
        pace.pause(3000).await;
    }
    Ok(())
}

/// Tries codes until the worker has enough of it.
async fn guesser(stage: &Stage) -> anyhow::Result<()> {
    for _ in 0..12 {
        stage
            .ask(
                "guesser",
                "guesser",
                json!({"JoinSession": {"inviteCode": "not-a-code"}}),
            )
            .await?;
    }
    Ok(())
}

/// Opens more sessions than one may be in at once; they never start.
async fn opener(stage: &Stage) -> anyhow::Result<()> {
    for _ in 0..4 {
        let create = json!({"CreatePrivateSession": {
            "sessionId": null, "targetLanguageCode": "de", "topicId": null, "topicTitle": null, "maxParticipants": 2,
        }});
        stage.ask("opener", "opener", create).await?;
    }
    // Whoever writes bytes that are no command is not answered, and stops nobody.
    stage.garbage().await
}

/// Has more sessions than a free day has.
async fn regular(stage: &Stage) -> anyhow::Result<()> {
    for _ in 0..11 {
        let create = json!({"CreatePrivateSession": {
            "sessionId": null, "targetLanguageCode": "it", "topicId": null, "topicTitle": null, "maxParticipants": 2,
        }});
        let created = stage.ask("regular", "regular", create).await?;
        if let Some(session) = text(&created, "sessionId") {
            stage
                .ask(
                    "regular",
                    &session,
                    json!({"EndSession": {"sessionId": session}}),
                )
                .await?;
        }
    }
    Ok(())
}

/// Sends the same command twice, and another one under its id.
async fn impatient(stage: &Stage) -> anyhow::Result<()> {
    let create = json!({"CreatePrivateSession": {
        "sessionId": null, "targetLanguageCode": "en", "topicId": null, "topicTitle": null, "maxParticipants": 2,
    }});
    let id = "impatient-create";
    let first = stage
        .ask_as(id, "impatient", "impatient", create.clone())
        .await?;
    let again = stage.ask_as(id, "impatient", "impatient", create).await?;
    anyhow::ensure!(
        again["replayed"] == true && again["sessionId"] == first["sessionId"],
        "the second of two equal commands was not answered by the first's result"
    );
    let session = text(&first, "sessionId").unwrap_or_default();
    let end = json!({"EndSession": {"sessionId": session}});
    let other = stage.ask_as(id, "impatient", &session, end).await?;
    anyhow::ensure!(
        other["code"] == "command_conflict",
        "another command under a known id was not refused"
    );
    Ok(())
}

async fn connect(stage: &Stage, user: &str, session: &str) -> anyhow::Result<Json> {
    let connection = format!("{user}-{session}");
    let command = json!({"ConnectParticipant": {"sessionId": session, "connectionId": connection}});
    stage.ask(user, session, command).await
}

async fn drop_out(stage: &Stage, user: &str, session: &str) -> anyhow::Result<Json> {
    let connection = format!("{user}-{session}");
    let command = json!({"DisconnectParticipant": {
        "sessionId": session, "connectionId": connection, "speakingTimeSeconds": null,
    }});
    stage.ask(user, session, command).await
}

async fn leave(stage: &Stage, user: &str, session: &str) -> anyhow::Result<Json> {
    let command = json!({"LeaveSession": {"sessionId": session, "speakingTimeSeconds": 3}});
    stage.ask(user, session, command).await
}

fn text(answer: &Json, field: &str) -> Option<String> {
    answer[field].as_str().map(str::to_owned)
}

/// A learner's own pace; the same in every run.
struct Pace(u64);

impl Pace {
    /// Waits between half of `millis` and all of it.
    async fn pause(&mut self, millis: u64) {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = (self.0 >> 33) % 512;
        tokio::time::sleep(Duration::from_millis(millis / 2 + millis * share / 1024)).await;
    }
}
