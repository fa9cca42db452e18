//! Looks at the bytes of a frame, wherever they lie.

use std::io::IoSlice;

use bytes::Buf;

/// So many chunks of a frame can be looked at.
const MOST: usize = 64;

/// Calls `look` with each chunk of `data`, in order. False if there are more than can be seen.
#[inline]
pub(super) fn for_each_chunk<D: Buf>(data: &D, mut look: impl FnMut(&[u8])) -> bool {
    let first = data.chunk();
    if first.len() == data.remaining() {
        look(first);
        return true;
    }
    for_each_of_many(data, look)
}

#[cold]
fn for_each_of_many<D: Buf>(data: &D, mut look: impl FnMut(&[u8])) -> bool {
    let mut chunks = [IoSlice::new(&[]); MOST];
    let filled = data.chunks_vectored(&mut chunks);
    let seen = &chunks[..filled];
    if seen.iter().map(|chunk| chunk.len()).sum::<usize>() != data.remaining() {
        return false;
    }
    for chunk in seen {
        look(chunk);
    }
    true
}
