//! What came of the crowd, as plain lines: how it goes meanwhile, and the account at the end. Knows
//! figures and faults, not where they come from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::lines::say;
use super::scene::Figures;

/// A line about how it goes.
pub(super) fn progress(figures: &Figures, lag: u64, elapsed: Duration) -> String {
    let refused: Vec<_> = figures
        .codes
        .iter()
        .filter(|(code, _)| !code.starts_with("accepted"))
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    format!(
        "{:>3} s  sessions: {} waiting, {} active, {} ended · {} asked, {} answered (p50 {} ms, p99 {} ms) · {} events · lag {lag} · refused: {}",
        elapsed.as_secs(),
        figures.waiting,
        figures.active,
        figures.ended,
        figures.asked,
        figures.answered,
        figures.all.p50,
        figures.all.p99,
        figures.events,
        if refused.is_empty() {
            "none".to_owned()
        } else {
            refused.join(", ")
        },
    )
}

/// What came of a run.
pub(super) struct Summary {
    pub(super) figures: Figures,
    /// Events by type.
    pub(super) types: BTreeMap<String, u64>,
    pub(super) redelivered: u64,
    pub(super) dead_letters: u64,
    pub(super) taken_over: Option<Duration>,
    pub(super) faults: Vec<String>,
    pub(super) took: Duration,
}

impl Summary {
    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn print(&self) {
        say("\nresults");
        for (code, count) in &self.figures.codes {
            say(&format!("  {count:>6}  {code}"));
        }
        say("events");
        for (kind, count) in &self.types {
            say(&format!("  {count:>6}  {kind}"));
        }
        say(&format!(
            "  {:>6}  redelivered, equal to the first",
            self.redelivered
        ));
        say(&format!("  {:>6}  dead letters", self.dead_letters));
        let Figures {
            waiting,
            active,
            ended,
            asked,
            events,
            all,
            ..
        } = &self.figures;
        let sessions = waiting + active + ended;
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a minute's counts are small")]
        let rates = (*asked as f64 / seconds, *events as f64 / seconds);
        say(&format!(
            "\n{sessions} sessions, {asked} commands and matches, {events} events in {seconds:.0} s: {:.0} commands/s, {:.0} events/s (the learners' pace, not the worker's)",
            rates.0, rates.1
        ));
        say(&format!(
            "command to result: p50 {} ms, p90 {} ms, p99 {} ms, worst {} ms (the kill is in it)",
            all.p50, all.p90, all.p99, all.worst
        ));
        if let Some(after) = self.taken_over {
            say(&format!(
                "killed worker's lanes: the first answer from one of them {:.1} s after kill -9",
                after.as_secs_f64()
            ));
        }
        if self.faults.is_empty() {
            say(
                "every command answered exactly once, every session's events gapless and ended last",
            );
        }
        for fault in &self.faults {
            say(&format!("FAULT: {fault}"));
        }
    }
}
