//! `topics plan` and `topics apply`: what the brokers lack of topics.yaml, and bringing it about.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Done;
use super::failure::Failure;
use super::flags::{SettingsFlags, TopicsFlag};
use super::output::{self, Output};
use crate::kafka::topics::{self, Growth, Plan, Topics};
use crate::kafka::{self, SetupError};

#[derive(Debug, Subcommand)]
pub(super) enum TopicsCommand {
    /// Show what the brokers lack; exit 3 if anything
    Plan {
        #[command(flatten)]
        growing: Growing,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
    /// Create, grow and configure topics; nothing is ever deleted or shrunk
    Apply {
        #[command(flatten)]
        growing: Growing,
        #[command(flatten)]
        settings: SettingsFlags,
        #[command(flatten)]
        topics: TopicsFlag,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Growing {
    /// Let keyed topics grow, too: keys move to other partitions, running sessions do not
    #[arg(long)]
    allow_growth: bool,
}

impl Growing {
    fn growth(self) -> Growth {
        if self.allow_growth {
            Growth::Allowed
        } else {
            Growth::Refused
        }
    }
}

/// Runs one of the commands.
pub(super) async fn run(
    command: TopicsCommand,
    before: SettingsFlags,
    file: TopicsFlag,
) -> Result<Done, Failure> {
    match command {
        TopicsCommand::Plan {
            growing,
            output,
            settings,
            topics,
        } => {
            let (client, topics) = load(&before.and(settings), &file.and(topics))?;
            let plan = observe(&client, &topics, growing.growth()).await?;
            output.print(|| words(&plan), || shown(&plan))?;
            Ok(match () {
                () if !plan.unseen.is_empty() => Done::Failed,
                () if plan.is_empty() => Done::Ok,
                () => Done::Drift,
            })
        }
        TopicsCommand::Apply {
            growing,
            settings,
            topics,
        } => {
            let (client, topics) = load(&before.and(settings), &file.and(topics))?;
            let plan = observe(&client, &topics, growing.growth()).await?;
            topics::apply(&client, &topics, &plan)
                .await
                .map_err(failure)?;
            output::print(words(&plan).as_bytes())?;
            Ok(match () {
                () if !plan.unseen.is_empty() => Done::Failed,
                () if plan.drifts.is_empty() => Done::Ok,
                () => Done::Drift,
            })
        }
    }
}

fn load(flags: &SettingsFlags, file: &TopicsFlag) -> Result<(kafka::Settings, Topics), Failure> {
    let effective = flags.load()?;
    let topics = file.load(&effective.settings.topics)?;
    Ok((effective.settings.kafka.client(), topics))
}

/// Compares `topics` with what the brokers have.
pub(super) async fn observe(
    client: &kafka::Settings,
    topics: &Topics,
    growth: Growth,
) -> Result<Plan, Failure> {
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let observed = topics::observe(client, &names).await.map_err(failure)?;
    Ok(topics::plan(topics, &observed, growth))
}

/// A failure at the brokers, with what to do.
pub(super) fn failure(error: SetupError) -> Failure {
    let remedy = match &error {
        SetupError::OwnedProperty { .. } | SetupError::BadProperty { .. } => {
            "leave it out or correct it"
        }
        SetupError::Client { .. } => "correct kafka.properties",
        SetupError::MissingTopic { .. } => "or correct topics.<name>",
        SetupError::Change { .. } => {
            "see the brokers' log, and run it again: what is done stays done"
        }
        SetupError::Unusable { obstacle, .. } => obstacle.cure(),
        SetupError::Unavailable { .. } => "start the brokers or set kafka.brokers, and try again",
    };
    Failure::operation(error, remedy)
}

fn words(plan: &Plan) -> String {
    if plan.is_empty() {
        return "the brokers have every topic as it should be\n".to_owned();
    }
    let changes = plan.changes.iter().map(|change| format!("+ {change}\n"));
    let drifts = plan.drifts.iter().map(|drift| format!("! {drift}\n"));
    let unseen = plan.unseen.iter().map(|unseen| format!("? {unseen}\n"));
    changes.chain(drifts).chain(unseen).collect()
}

fn shown(plan: &Plan) -> serde_json::Value {
    let changes: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    let drifts: Vec<String> = plan.drifts.iter().map(ToString::to_string).collect();
    let unseen: Vec<String> = plan.unseen.iter().map(ToString::to_string).collect();
    json!({"changes": changes, "drifts": drifts, "unseen": unseen})
}
