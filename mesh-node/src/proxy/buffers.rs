//! Buffers that a worker's connections read into and write from. They belong to the worker's thread and are lent
//! while bytes are there: a connection that waits holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Enough for the head and body of most messages, so that one read takes them.
pub(super) const SIZE: usize = 16 * 1024;
/// For a connection that has more to read than that: the more moves at once, the less often does either end wake up, as long as
/// what moves stays in the processor's own cache.
pub(super) const LARGE: usize = 256 * 1024;
/// What a large buffer has room for besides: the frames of TLS records that hold so much.
pub(super) const FRAMES: usize = 1024;
/// Buffers of each size that one thread keeps for the next bytes.
const KEPT: usize = 64;
const LARGE_KEPT: usize = 4;

#[derive(Debug)]
struct Spare {
    usual: Vec<BytesMut>,
    large: Vec<BytesMut>,
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { usual: Vec::new(), large: Vec::new() }) };
}

/// An empty buffer with room for at least `SIZE` bytes.
pub(super) fn lend(large: bool) -> BytesMut {
    SPARE.with_borrow_mut(|spare| {
        let (kept, size) = if large { (&mut spare.large, LARGE + FRAMES) } else { (&mut spare.usual, SIZE) };
        kept.pop().unwrap_or_else(|| BytesMut::with_capacity(size))
    })
}

pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    // One that something still refers to is left to the allocator, and so is one that has grown.
    let whole = |buffer: &mut BytesMut, size| buffer.try_reclaim(size) && buffer.capacity() < 2 * size;
    SPARE.with_borrow_mut(|spare| {
        if whole(&mut buffer, SIZE) {
            if spare.usual.len() < KEPT {
                spare.usual.push(buffer);
            }
        } else if spare.large.len() < LARGE_KEPT && whole(&mut buffer, LARGE + FRAMES) {
            spare.large.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_whole_and_kept_only_when_nobody_refers_to_them() {
        let mut buffer = lend(false);
        buffer.extend_from_slice(b"head and body");
        let head = buffer.split_to(4).freeze();
        let address = head.as_ptr();
        give_back(buffer);
        assert_ne!(lend(false).as_ptr(), address, "its head is still in use");
        assert_eq!(head, "head");
        let mut buffer = lend(false);
        buffer.extend_from_slice(b"head and body");
        let address = buffer.split_to(4).as_ptr();
        give_back(buffer);
        let again = lend(false);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert!(again.capacity() >= SIZE);
    }
}
