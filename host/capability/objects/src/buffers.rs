//! Memory for large bodies, used again and again: asking the system for each part's anew costs the clearing of all its pages,
//! and leaves the allocator with more than it gives back.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// What is smaller is the allocator's business, in bytes.
const LEAST: usize = 1 << 20;
/// Kept at most, in bytes.
const KEPT: usize = 40 << 20;

/// Buffers that nobody uses just now.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<BytesMut>>);

impl Buffers {
    /// An empty one with room for `len` bytes.
    pub fn take(&self, len: usize) -> BytesMut {
        if len >= LEAST {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|buffer| buffer.capacity() >= len) {
                return kept.swap_remove(at);
            }
        }
        BytesMut::with_capacity(len)
    }

    /// Keeps one that was filled, unless somebody still reads it.
    pub fn give_back(&self, bytes: Bytes) {
        let Ok(mut buffer) = bytes.try_into_mut() else { return };
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = kept.iter().map(BytesMut::capacity).sum();
        if buffer.capacity() >= LEAST && held + buffer.capacity() <= KEPT {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_used_again_and_what_is_read_is_left_alone() {
        let buffers = Buffers::default();
        let mut first = buffers.take(LEAST);
        first.extend_from_slice(&vec![7; LEAST]);
        let (place, bytes) = (first.as_ptr(), first.freeze());
        let reader = bytes.clone();
        buffers.give_back(bytes);
        assert_ne!(buffers.take(LEAST).as_ptr(), place);
        buffers.give_back(reader);
        let again = buffers.take(LEAST);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }
}
