//! What a seed's simulation is made of. Each storm draws its own mixture of faults: few kinds often find
//! more than all kinds always.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use session_worker::lane::Bounds;

use crate::incidents::Incident;
use crate::weather::Rates;

/// One simulation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Messages that are sent while faults happen.
    pub(crate) messages: usize,
    /// The longest pause between two messages.
    pub(crate) pause_ms: u64,
    pub(crate) rates: Rates,
    /// Which incidents happen.
    pub(crate) incidents: Vec<Incident>,
    /// The longest pause between two incidents.
    pub(crate) incident_ms: u64,
    /// How likely an incident that has an end lasts until it is repaired, in 1,000.
    pub(crate) lasting: u32,
    /// How long incidents go on after the last message.
    pub(crate) afterwards: Duration,
    pub(crate) bounds: Bounds,
}

impl Plan {
    /// Nothing fails.
    pub(crate) fn calm(seed: u64) -> Self {
        Self {
            seed,
            messages: 150,
            pause_ms: 250,
            rates: Rates::default(),
            incidents: Vec::new(),
            incident_ms: 3_000,
            lasting: 0,
            afterwards: Duration::ZERO,
            bounds: Bounds::default(),
        }
    }

    /// A mixture of faults, small and large.
    pub(crate) fn storm(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0057_0e12);
        let mut sometimes = |rate: u32| if rng.random_bool(0.6) { rate } else { 0 };
        let rates = Rates {
            unavailable: sometimes(20),
            fence: sometimes(300),
            conflict: sometimes(50),
            lost_answer: sometimes(20),
            lost_request: sometimes(20),
            freeze: sometimes(10),
            freeze_ms: u64::from(sometimes(36_000)) + 4_000,
            read: sometimes(15),
            placing: sometimes(100),
            hang: sometimes(30),
            delivery: sometimes(60),
            held_up: sometimes(80),
            pause: sometimes(40),
        };
        let incidents = Incident::ALL
            .into_iter()
            .filter(|incident| rng.random_bool(incident.share()))
            .collect();
        Self {
            rates,
            incidents,
            incident_ms: *[1_500, 3_000, 6_000]
                .get(rng.random_range(0..3))
                .expect("three"),
            lasting: if rng.random_bool(0.5) { 300 } else { 0 },
            afterwards: Duration::from_secs(rng.random_range(0..30)),
            pause_ms: if rng.random_bool(0.2) { 20 } else { 250 },
            bounds: Self::bounds(&mut rng),
            ..Self::calm(seed)
        }
    }

    fn bounds(rng: &mut StdRng) -> Bounds {
        match rng.random_range(0..4) {
            0 => Bounds {
                batch_records: 1,
                outbox_bytes: 1,
                timers: 1,
                unacknowledged: 1,
                cached_sessions: 1,
                ..Bounds::default()
            },
            1 => Bounds {
                batch_records: 4,
                timers: 2,
                cached_sessions: 4,
                ..Bounds::default()
            },
            _ => Bounds::default(),
        }
    }
}
