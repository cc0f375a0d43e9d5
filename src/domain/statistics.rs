//! What `session.ended` sums up (contract 2, AC7): plain arithmetic over everybody who was ever in,
//! in order of first join, so that the same session always sums up to the same numbers.

use super::event::{ParticipantStatistics, SessionStatistics};
use super::participant::{LeaveReason, Participant};
use super::session::{Session, count};
use super::time::Timestamp;

impl SessionStatistics {
    /// Sums up a session that has just ended, at `now`.
    pub(super) fn of(session: &Session, now: Timestamp) -> Self {
        let spoken = session
            .participants
            .iter()
            .map(|p| p.speaking_time_seconds)
            .sum();
        Self {
            duration_seconds: session.duration_seconds(now),
            total_participants: count(session.participants.len()),
            peak_participants: session.peak_participants,
            talk_balance: talk_balance(&session.participants, spoken),
            silent_user_ids: session
                .participants
                .iter()
                .filter(|participant| is_silent(participant, spoken))
                .map(|participant| participant.user_id.clone())
                .collect(),
            participants: session
                .participants
                .iter()
                .map(|participant| line(participant, spoken, now))
                .collect(),
        }
    }
}

fn line(participant: &Participant, spoken: i64, now: Timestamp) -> ParticipantStatistics {
    ParticipantStatistics {
        user_id: participant.user_id.clone(),
        role: participant.role,
        joined_at: participant.joined_at,
        left_at: participant.left_at,
        present_seconds: participant.present_seconds(now),
        speaking_time_seconds: participant.speaking_time_seconds,
        talk_share: talk_share(participant, spoken),
        leave_reason: participant
            .leave_reason
            .unwrap_or(LeaveReason::SessionEnded),
        rejoin_count: participant.rejoin_count,
    }
}

/// Own over all speaking time, 0 where nobody spoke.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds of one session are far below 2^52"
)]
fn talk_share(participant: &Participant, spoken: i64) -> f64 {
    if spoken == 0 {
        0.0
    } else {
        participant.speaking_time_seconds as f64 / spoken as f64
    }
}

/// Share under 5 %, compared in whole seconds so that exactly 5 % is not silent.
fn is_silent(participant: &Participant, spoken: i64) -> bool {
    spoken == 0 || participant.speaking_time_seconds.saturating_mul(20) < spoken
}

/// Shannon entropy of the shares over ln(total participants), 0 with fewer than 2 speakers.
#[expect(
    clippy::cast_precision_loss,
    reason = "a session has at most 100 participants"
)]
fn talk_balance(participants: &[Participant], spoken: i64) -> f64 {
    let shares = || {
        participants
            .iter()
            .map(|p| talk_share(p, spoken))
            .filter(|share| *share > 0.0)
    };
    if shares().count() < 2 {
        return 0.0;
    }
    let entropy: f64 = shares().map(|share| -share * share.ln()).sum();
    // Equal shares may come out a rounding error above 1.
    (entropy / (participants.len() as f64).ln()).min(1.0)
}
