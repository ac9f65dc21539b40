//! Content for benches: pieces of one block that looks random, so that a server and its client hold the same bytes
//! without sending or keeping each object's own.

use bytes::Bytes;

/// Where pieces may begin. A power of two: with an odd stride, as many objects begin at different places.
const BEGINNINGS: usize = 1 << 20;
const STRIDE: usize = 7919;

/// The block.
#[derive(Debug, Clone)]
pub struct Pattern(Bytes);

impl Pattern {
    /// For objects of so many bytes at most.
    pub fn new(longest: usize) -> Self {
        // xorshift64: no object store or network compresses it, and a GiB of it takes a moment.
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut block = Vec::with_capacity(BEGINNINGS + longest + 8);
        while block.len() < BEGINNINGS + longest {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        Self(Bytes::from(block))
    }

    /// The content of the object of this number; shared, not copied.
    ///
    /// # Panics
    ///
    /// Where `len` is more than the pattern was made for.
    pub fn object(&self, number: usize, len: usize) -> Bytes {
        let start = number.wrapping_mul(STRIDE) % BEGINNINGS;
        self.0.slice(start..start + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_differ_and_come_again() {
        let (one, other) = (Pattern::new(1000), Pattern::new(1000));
        assert_eq!(one.object(7, 1000), other.object(7, 1000));
        assert_ne!(one.object(7, 1000), one.object(8, 1000));
        assert_eq!(one.object(0, 0).len(), 0);
    }
}
