//! docs/configuration.md, written from the table of settings so that it cannot lag behind.

use std::fmt::Write;

use super::catalogue::SETTINGS;
use super::{Settings, layers};

const HEAD: &str = "\
# Settings

<!-- Written from src/settings/catalogue.rs: UPDATE_DOCS=1 cargo test --lib the_reference -->

A setting is taken from the command line, else from the environment, else from the file given with
`--config` (TOML), else it has its default. Unknown settings are errors, and every fault is reported
at once. `session-worker check` says what is wrong before anything runs.

- **Flags**: `--set kafka.brokers=kafka-1:9092,kafka-2:9092`, repeatable; `--kafka-brokers`,
  `--mongo-uri`, `--registry-urls` and `--http-listen` are short for the same.
- **Environment**: `SESSION_WORKER__SECTION__KEY`; a capital becomes `_` and the capital; lists by
  commas. A secret may stand in a file instead, named by the variable with `_FILE` at its end.
- **File**: sections and camelCase keys; lists as TOML lists or by commas.
- **Durations**: `500ms`, `30s`, `5m`, `2h`, `7d`, or several units, longest first: `1h30m`.
  **Sizes**: bytes, or `64KiB`, `4MiB`.
- **`kafka.properties.*`** go to librdkafka as they are (`[kafka.properties]` in the file;
  `SESSION_WORKER__KAFKA__PROPERTIES__SASL_USERNAME` for `sasl.username`). `session.timeout.ms`
  defaults to 10000. Properties that the worker's guarantees rest on (`group.id`,
  `enable.auto.commit`, `enable.idempotence`, `acks`, …) are refused. Passwords and secrets among
  them may come from files, too: `SESSION_WORKER__KAFKA__PROPERTIES__SASL_PASSWORD_FILE`.
  TLS and SASL: [security.md](security.md).

The log's lines are chosen with `RUST_LOG` (default `info`).

";

/// The reference of every setting, in Markdown.
pub fn reference() -> String {
    let defaults = Settings::default();
    let mut page = HEAD.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        let head = setting.key.split('.').next().unwrap_or_default();
        if head != section {
            section = head;
            let _ = write!(
                page,
                "\n## {section}\n\n| setting | takes | default | |\n|---|---|---|---|\n"
            );
        }
        let default = match (setting.show)(&defaults) {
            shown if shown.is_empty() => "–".to_owned(),
            shown => format!("`{shown}`"),
        };
        let file = if setting.secret {
            " (also `…_FILE`)"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `{}`<br>`{}`{file} | {} | {default} | {} |",
            setting.key,
            layers::variable(setting.key),
            setting.takes,
            setting.about
        );
    }
    page
}
