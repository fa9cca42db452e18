//! Splits an event stream into lines.

use std::mem;

/// Tells line from line, however the stream comes in pieces: the byte order mark, CR, LF and CRLF
/// may each be split.
///
/// What the standard calls for (WHATWG HTML §9.2.5): one leading U+FEFF is dropped; LF, CR and CRLF
/// end a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    at: At,
}

/// Where the stream is, as far as that matters to the next byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Nothing came yet.
    #[default]
    Start,
    /// The first byte of the mark came, and nothing else.
    Mark1,
    /// The first two bytes of the mark came, and nothing else.
    Mark2,
    /// The last byte was a CR. It has ended its line; an LF that follows belongs to it.
    AfterCr,
    Text,
}

/// U+FEFF in UTF-8.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = *b"\xEF\xBB\xBF";

/// A part of a line, without what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a [u8],
    /// Whether the line is over with it.
    pub(super) ends_line: bool,
}

impl Lines {
    /// The next piece, taken off the front of `bytes`. `None` if there is none left, and all bytes
    /// are taken.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        if self.at != At::Text {
            if let Some(text) = self.reach_text(bytes) {
                let ends_line = false;
                return Some(Piece { text, ends_line });
            }
        }
        if bytes.is_empty() {
            return None;
        }
        let Some(end) = line_end(bytes) else {
            let text = mem::take(bytes);
            let ends_line = false;
            return Some(Piece { text, ends_line });
        };
        let text = &bytes[..end];
        let ended_by_cr = bytes[end] == b'\r';
        *bytes = &bytes[end + 1..];
        if ended_by_cr {
            self.at = At::AfterCr;
            self.take_lf(bytes);
        }
        let ends_line = true;
        Some(Piece { text, ends_line })
    }

    /// Takes what is not text, and returns what was taken for it and is.
    // Out of line: it is for the first bytes of a stream, and for a CRLF that was split.
    #[inline(never)]
    fn reach_text<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        if self.at == At::AfterCr {
            self.take_lf(bytes);
            None
        } else {
            self.take_mark(bytes)
        }
    }

    #[inline]
    fn take_lf(&mut self, bytes: &mut &[u8]) {
        if let Some((first, rest)) = bytes.split_first() {
            self.at = At::Text;
            if *first == b'\n' {
                *bytes = rest;
            }
        }
    }

    /// Takes what there is of the mark. What was taken for its beginning, and was not, is given
    /// back.
    fn take_mark<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        const MARK: &[u8] = &BYTE_ORDER_MARK;
        loop {
            let (taken, next) = match self.at {
                At::Start => (0, At::Mark1),
                At::Mark1 => (1, At::Mark2),
                At::Mark2 => (2, At::Text),
                At::AfterCr | At::Text => return None,
            };
            let (first, rest) = bytes.split_first()?;
            if *first != MARK[taken] {
                self.at = At::Text;
                return Some(&MARK[..taken]).filter(|taken| !taken.is_empty());
            }
            self.at = next;
            *bytes = rest;
        }
    }

    /// A byte order mark that comes from here on is text. True if there was nothing yet.
    pub(super) fn leave_start(&mut self) -> bool {
        let was_at_start = self.at == At::Start;
        if was_at_start {
            self.at = At::Text;
        }
        was_at_start
    }

    /// Whether the bytes so far may be a part of the byte order mark.
    pub(super) fn is_within_mark(&self) -> bool {
        matches!(self.at, At::Mark1 | At::Mark2)
    }

    /// Whether the next byte, if it is LF, belongs to the line that is over.
    pub(super) fn awaits_lf(&self) -> bool {
        self.at == At::AfterCr
    }
}

/// So many bytes are looked at in one go. Compilers make a few vector instructions of it.
const BLOCK: usize = 32;

/// Where the first CR or LF is.
#[inline]
fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while let Some((block, more)) = rest.split_first_chunk::<BLOCK>() {
        let count = |ends, byte: &u8| ends + u8::from(matches!(byte, b'\n' | b'\r'));
        if block.iter().fold(0, count) > 0 {
            break;
        }
        rest = more;
    }
    let skipped = bytes.len() - rest.len();
    short_line_end(rest).map(|within| skipped + within)
}

/// The same, eight bytes at a time.
#[inline]
fn short_line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    // The lowest byte that is zero has its highest bit set in this; those above it may err.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);

    let mut rest = bytes;
    while let Some((word, more)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        let found =
            zeros(word ^ (ONES * u64::from(b'\n'))) | zeros(word ^ (ONES * u64::from(b'\r')));
        if found != 0 {
            let within = (found.trailing_zeros() / 8) as usize;
            return Some(bytes.len() - rest.len() + within);
        }
        rest = more;
    }
    let within = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
    Some(bytes.len() - rest.len() + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every place of so many bytes that are almost an end.
    fn assert_found_among(other: u8, len: usize) {
        let mut bytes = vec![other; len];
        assert_eq!(line_end(&bytes), None, "{bytes:?}");
        for at in (0..len).rev() {
            bytes[at] = if at % 2 == 0 { b'\n' } else { b'\r' };
            assert_eq!(line_end(&bytes), Some(at), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_end_is_found_wherever_it_is() {
        for other in [0, 0x09, 0x0b, 0x0c, 0x0e, 0x8a, 0x8d, 0xff] {
            (0..3 * BLOCK).for_each(|len| assert_found_among(other, len));
        }
    }
}
