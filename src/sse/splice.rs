//! Event streams that are added to, and cut.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Scanner, lines::BYTE_ORDER_MARK};

/// Follows an event stream that lines are put into, or that is cut.
#[derive(Debug, Default)]
pub(super) struct Splice {
    scanner: Scanner,
    /// How much was taken off of a byte order mark that is no longer the first thing there is: a
    /// client would take it for text.
    mark: Option<u8>,
}

/// What becomes of data that is cut.
#[derive(Debug)]
pub(super) enum Cut<D> {
    /// The stream ends with this.
    End(D),
    /// It may not end in this.
    None(D),
}

impl Splice {
    pub(super) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// By how much what is handed on from here may be (less, more) than what comes in.
    pub(super) fn slack(&self) -> (u64, u64) {
        let whole = BYTE_ORDER_MARK.len() as u64;
        self.mark
            .map(u64::from)
            .map_or((0, 0), |taken| (whole - taken, taken))
    }

    /// Whole lines, that are no part of an event, are put in here, where it is safe.
    pub(super) fn insert(&mut self) {
        if self.scanner.leave_start() {
            self.mark = Some(0);
        }
    }

    /// Follows this data, which is handed on as it is returned. `None` if nothing is left of it.
    #[inline]
    pub(super) fn pass<D: Buf + From<Bytes>>(&mut self, mut data: D) -> Option<D> {
        if let Some(taken) = self.mark {
            data = self.without_mark(taken, data)?;
        }
        self.scanner.feed_buf(&data);
        Some(data)
    }

    /// The same, but takes off what comes after the last place of which `may_end` says that the
    /// stream may end there.
    pub(super) fn cut<D: Buf + From<Bytes>>(
        &mut self,
        mut data: D,
        may_end: impl Fn(&Scanner) -> bool,
    ) -> Option<Cut<D>> {
        if let Some(taken) = self.mark {
            data = self.without_mark(taken, data)?;
        }
        // Of `Bytes` this takes no copy.
        let mut bytes = data.copy_to_bytes(data.remaining());
        let mut rest = &bytes[..];
        let mut end = None;
        while self.scanner.feed_line(&mut rest) {
            if may_end(&self.scanner) {
                end = Some(bytes.len() - rest.len());
            }
        }
        Some(match end {
            Some(end) => {
                bytes.truncate(end);
                Cut::End(bytes.into())
            }
            None => Cut::None(bytes.into()),
        })
    }

    #[cold]
    fn without_mark<D: Buf + From<Bytes>>(&mut self, taken: u8, mut data: D) -> Option<D> {
        if !data.has_remaining() {
            return Some(data);
        }
        let mut taken = usize::from(taken);
        while let Some(expected) = BYTE_ORDER_MARK.get(taken) {
            match data.chunk().first() {
                Some(byte) if byte == expected => {
                    data.advance(1);
                    taken += 1;
                }
                Some(_) => break,
                None => {
                    self.mark = u8::try_from(taken).ok();
                    return None;
                }
            }
        }
        self.mark = None;
        if taken == 0 || taken == BYTE_ORDER_MARK.len() {
            return Some(data).filter(Buf::has_remaining);
        }
        // It only began like one: that is given back.
        let mut whole = BytesMut::with_capacity(taken + data.remaining());
        whole.put_slice(&BYTE_ORDER_MARK[..taken]);
        whole.put(data);
        Some(whole.freeze().into())
    }
}
