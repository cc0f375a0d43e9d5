//! Provisional.
/// murmur2
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    i32::try_from(key.iter().map(|b| u32::from(*b)).sum::<u32>()).unwrap_or(0) % partitions
}
