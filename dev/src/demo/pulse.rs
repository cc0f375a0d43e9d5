//! What passed when: rates by the second, latencies over a sliding window and over all, and the latest
//! events. Times are given, so that it needs no clock; what it keeps is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value as Json;

use super::scene::Passing;
use crate::percentiles::Percentiles;

/// How far the sliding window of latencies reaches back.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Events that a tall screen has lines for.
const PASSING: usize = 100;
/// Seconds that are counted apart; `--keep` may stay for days.
const SECONDS: usize = 600;

#[derive(Debug, Default)]
pub(super) struct Pulse {
    answers: Vec<u64>,
    events: Vec<u64>,
    /// When an answer came, and after how many milliseconds.
    recent: VecDeque<(Duration, u64)>,
    all: Vec<u64>,
    passing: VecDeque<Passing>,
}

impl Pulse {
    /// Counts an answer; the first one to a command or match comes with its wait.
    pub(super) fn answered(&mut self, at: Duration, waited: Option<Duration>) {
        count(&mut self.answers, at);
        if let Some(waited) = waited {
            let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            self.all.push(millis);
            self.recent.push_back((at, millis));
            while let Some((first, _)) = self.recent.front()
                && at.saturating_sub(*first) > WINDOW
            {
                self.recent.pop_front();
            }
        }
    }

    pub(super) fn event(&mut self, at: Duration, event: &Json) {
        count(&mut self.events, at);
        if self.passing.len() == PASSING {
            self.passing.pop_front();
        }
        self.passing.push_back(passing(at, event));
    }

    pub(super) fn answers_by_second(&self, now: Duration) -> Vec<u64> {
        whole_seconds(&self.answers, now)
    }

    pub(super) fn events_by_second(&self, now: Duration) -> Vec<u64> {
        whole_seconds(&self.events, now)
    }

    pub(super) fn recent(&self, now: Duration) -> Percentiles {
        let is_recent = |at: Duration| now.saturating_sub(at) <= WINDOW;
        let recent = self.recent.iter().filter(|(at, _)| is_recent(*at));
        Percentiles::of(recent.map(|(_, millis)| *millis).collect())
    }

    pub(super) fn all(&self) -> Percentiles {
        Percentiles::of(self.all.clone())
    }

    pub(super) fn passing(&self) -> Vec<Passing> {
        self.passing.iter().cloned().collect()
    }
}

fn count(seconds: &mut Vec<u64>, at: Duration) {
    let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
    if second < SECONDS {
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }
}

/// The counts of the seconds that are over; a second in which nothing came counts, too.
fn whole_seconds(seconds: &[u64], now: Duration) -> Vec<u64> {
    let over = usize::try_from(now.as_secs()).unwrap_or(usize::MAX);
    let mut counts: Vec<_> = seconds.iter().copied().take(over).collect();
    counts.resize(over.min(SECONDS), 0);
    counts
}

fn passing(at: Duration, event: &Json) -> Passing {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let participant = &event["participant"];
    let session = &event["session"];
    let is_timer = text(&event["causationId"]).starts_with("timer:");
    let actor = match event["actorUserId"].as_str() {
        _ if is_timer => "timer",
        // Nobody commands a match.
        None => "match",
        Some(user) => user,
    };
    let kind = text(&event["type"]);
    let detail = match kind.as_str() {
        "session.created" => {
            let language = text(&session["targetLanguageCode"]);
            format!("{} {language}", text(&session["type"]))
        }
        "session.expiring" => format!("{} s left", event["secondsLeft"]),
        "session.host_changed" => format!("after {}", text(&event["previousHostUserId"])),
        "participant.joined" if participant["rejoin"] == true => "again".to_owned(),
        _ => text(&event["reason"]),
    };
    Passing {
        at,
        session: text(&event["sessionId"]),
        sequence: event["sequence"].as_i64().unwrap_or_default(),
        who: match kind.as_str() {
            "session.host_changed" => text(&session["hostUserId"]),
            _ => participant["userId"].as_str().unwrap_or(actor).to_owned(),
        },
        kind,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_second_counts_once_it_is_over_and_an_empty_one_too() {
        let mut pulse = Pulse::default();
        for millis in [100, 900, 2_100, 3_000] {
            pulse.answered(at(millis), None);
        }
        assert_eq!(pulse.answers_by_second(at(2_999)), [2, 0]);
        assert_eq!(pulse.answers_by_second(at(5_000)), [2, 0, 1, 1, 0]);
        assert_eq!(pulse.events_by_second(at(2_000)), [0, 0]);
    }

    #[test]
    fn the_window_forgets_and_the_whole_does_not() {
        let mut pulse = Pulse::default();
        pulse.answered(at(0), Some(at(500)));
        pulse.answered(at(4_000), Some(at(5)));
        assert_eq!(pulse.recent(at(9_000)).worst, 500);
        assert_eq!(pulse.recent(at(10_001)).worst, 5);
        assert_eq!(pulse.recent(at(14_001)), Percentiles::default());
        assert_eq!(pulse.all().worst, 500);
    }

    #[test]
    fn an_event_is_told_by_whom_it_is_about_and_by_what_matters_of_it() {
        let mut pulse = Pulse::default();
        let session = json!({"type": "private", "targetLanguageCode": "fr", "hostUserId": "ann"});
        let events = [
            json!({"type": "session.created", "actorUserId": "bob", "session": session}),
            json!({"type": "participant.joined", "participant": {"userId": "cyd", "rejoin": true}}),
            json!({"type": "participant.left", "participant": {"userId": "cyd"}, "reason": "left", "causationId": "timer:s:x"}),
            json!({"type": "session.host_changed", "session": session, "actorUserId": "bob", "previousHostUserId": "bob"}),
            json!({"type": "session.expiring", "causationId": "timer:s:expiring:300", "secondsLeft": 300}),
            json!({"type": "session.started", "causationId": "match-7", "actorUserId": null}),
            json!({"type": "session.ended", "causationId": "timer:s:timeout", "reason": "timeout"}),
        ];
        for event in &events {
            pulse.event(at(0), event);
        }
        let told: Vec<_> = pulse
            .passing()
            .into_iter()
            .map(|passing| (passing.who, passing.detail))
            .collect();
        let expected = [
            ("bob", "private fr"),
            ("cyd", "again"),
            ("cyd", "left"),
            ("ann", "after bob"),
            ("timer", "300 s left"),
            ("match", ""),
            ("timer", "timeout"),
        ];
        assert_eq!(
            told,
            expected.map(|(who, what)| (who.to_owned(), what.to_owned()))
        );
    }

    #[test]
    fn only_the_latest_events_are_kept() {
        let mut pulse = Pulse::default();
        for sequence in 0..1_000 {
            pulse.event(at(0), &json!({ "sequence": sequence }));
        }
        let kept = pulse.passing();
        assert_eq!(kept.len(), PASSING);
        assert_eq!(kept.last().map(|passing| passing.sequence), Some(999));
    }
}
