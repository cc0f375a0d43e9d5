//! Which partition a key belongs to: murmur2 as the Java client and librdkafka's `murmur2_random`
//! compute it for a key that is not null (contract 1). Pure; cannot fail.

/// The partition of `key` in a topic of `partitions` partitions (at least 1), as every producer that
/// partitions like the Java client chooses it.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    debug_assert!(partitions > 0, "a topic has at least one partition");
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).expect("31 bits fit an i32");
    positive % partitions.max(1)
}

/// Austin Appleby's `MurmurHash2`, 32 bits, with the Java client's seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // The Java client's arithmetic wraps at 32 bits, the length's too.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "wraps as the Java client's int does"
    )]
    let mut hash = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes(word.try_into().expect("chunks of four bytes"));
        let mut k = word.wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (position, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_the_java_clients_test_vectors() {
        // org.apache.kafka.common.utils.UtilsTest.testMurmur2, and librdkafka's unittest_murmur2.
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, expected) in vectors {
            let hash = i32::from_ne_bytes(murmur2(key).to_ne_bytes());
            assert_eq!(hash, expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_negative_hash_still_names_a_partition() {
        assert_eq!(partition_of(b"21", 8), (-973_932_308_i32 & 0x7fff_ffff) % 8);
        for partitions in 1..20 {
            assert!((0..partitions).contains(&partition_of(b"foobar", partitions)));
        }
    }
}
