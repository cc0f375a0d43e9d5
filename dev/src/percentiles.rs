//! How long answers took, as people compare it: the middle, the slow tenth, the slow hundredth and the
//! worst. Knows nothing of what was measured; of nothing, everything is 0.

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) worst: u64,
}

impl Percentiles {
    pub(crate) fn of(mut millis: Vec<u64>) -> Self {
        millis.sort_unstable();
        let last = millis.len().saturating_sub(1);
        let at = |percent: usize| millis.get(last * percent / 100).copied().unwrap_or(0);
        Self {
            p50: at(50),
            p90: at(90),
            p99: at(99),
            worst: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_and_the_order_of_measuring_does_not_matter() {
        let millis = (1..=101).rev().collect();
        let expected = Percentiles {
            p50: 51,
            p90: 91,
            p99: 100,
            worst: 101,
        };
        assert_eq!(Percentiles::of(millis), expected);
        assert_eq!(Percentiles::of(vec![7]).p50, 7);
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }
}
