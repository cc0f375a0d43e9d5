//! The flags that every command with settings takes. They may stand before or after the command;
//! what stands after it wins.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::kafka::topics::Topics;
use crate::record::TopicNames;
use crate::settings::{self, Effective, FlagValue, Flags};

/// Which topics file, for the commands that compare it with the brokers.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct TopicsFlag {
    /// Read the topics from this file, not from the built-in topics.yaml
    #[arg(long = "topics", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TopicsFlag {
    /// This one, given before the command, or `after`, given behind it.
    pub(super) fn and(self, after: Self) -> Self {
        Self {
            file: after.file.or(self.file),
        }
    }

    /// The topics, under the names that the settings give them.
    pub(super) fn load(&self, names: &TopicNames) -> Result<Topics, Failure> {
        let Some(path) = &self.file else {
            return Ok(Topics::compiled_in().renamed(names));
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let path = path.display();
            Failure::Usage(format!(
                "cannot read {path}: {error}; name a readable file with --topics"
            ))
        })?;
        let topics = Topics::parse(&text)
            .map_err(|error| Failure::Usage(format!("{error}; mend {}", path.display())))?;
        Ok(topics.renamed(names))
    }
}

/// Where settings come from beside the environment.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingsFlags {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting, e.g. --set rules.concurrentLimit=5; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Short for --set kafka.brokers=…
    #[arg(long, value_name = "LIST")]
    kafka_brokers: Option<String>,
    /// Short for --set registry.urls=…
    #[arg(long, value_name = "LIST")]
    registry_urls: Option<String>,
    /// Short for --set mongo.uri=…; prefer a file or the environment for passwords
    #[arg(long, value_name = "URI")]
    mongo_uri: Option<String>,
    /// Short for --set http.listen=…
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "write KEY=VALUE".to_owned())
}

impl SettingsFlags {
    /// These, given before the command, and `after`, given behind it.
    pub(super) fn and(self, after: Self) -> Self {
        Self {
            config: after.config.or(self.config),
            set: [self.set, after.set].concat(),
            kafka_brokers: after.kafka_brokers.or(self.kafka_brokers),
            registry_urls: after.registry_urls.or(self.registry_urls),
            mongo_uri: after.mongo_uri.or(self.mongo_uri),
            http_listen: after.http_listen.or(self.http_listen),
        }
    }

    /// Reads every layer.
    pub(super) fn load(&self) -> Result<Effective, Failure> {
        Ok(settings::load(&self.flags(), std::env::vars_os())?)
    }

    /// The uppermost layer.
    pub(super) fn flags(&self) -> Flags {
        let short = [
            ("--kafka-brokers", "kafka.brokers", &self.kafka_brokers),
            ("--registry-urls", "registry.urls", &self.registry_urls),
            ("--mongo-uri", "mongo.uri", &self.mongo_uri),
            ("--http-listen", "http.listen", &self.http_listen),
        ];
        let short = short.into_iter().filter_map(|(flag, key, text)| {
            let text = text.clone()?;
            Some(FlagValue {
                flag: flag.to_owned(),
                key: key.to_owned(),
                text,
            })
        });
        let set = self.set.iter().map(|(key, text)| FlagValue {
            flag: "--set".to_owned(),
            key: key.clone(),
            text: text.clone(),
        });
        Flags {
            config: self.config.clone(),
            values: short.chain(set).collect(),
        }
    }
}
