//! Where events end.

use std::mem;

use bytes::Buf;

use super::{
    chunks::for_each_chunk,
    lines::{Lines, Piece},
};

/// Follows an event stream byte by byte, without keeping any of it: how many events there were, and
/// whether something may be put in here.
///
/// It reads as a browser does (WHATWG HTML §9.2.6), in any pieces: one leading byte order mark is
/// dropped; CR, LF and CRLF end lines; a blank line dispatches an event if there was a `data` field
/// since the one before, be it empty; a line that begins with a colon is a comment. What is not
/// UTF-8, or not to the point, is skipped. A line may be endless.
///
/// ```
/// use tower_passthrough::sse::Scanner;
///
/// let mut scanner = Scanner::new();
/// assert_eq!(scanner.feed(b"id: 7\r\ndata: Hel"), 0);
/// assert!(!scanner.is_between_events());
/// assert_eq!(scanner.feed(b"lo\r\n\r"), 1);
/// assert!(scanner.is_between_events() && !scanner.is_safe_for_injection()); // an LF may follow
/// scanner.feed(b"\n: a comment\n");
/// assert!(scanner.is_safe_for_injection());
/// assert_eq!(scanner.events(), 1);
/// ```
// Each stream that is followed carries one: it is kept to 16 bytes.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    events: u64,
    lines: Lines,
    line: Line,
    event: Event,
    is_lost: bool,
}

/// What the line that is under way is so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Line {
    #[default]
    Empty,
    Comment,
    /// So much of the name `data`, and nothing else.
    D,
    Da,
    Dat,
    /// The name alone: a field without a value, if it ends here.
    Data,
    /// `data`, a colon, and anything.
    DataField,
    /// Any other field.
    Other,
}

/// What the event that is under way is so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Event {
    /// There is none: there was nothing but comments since the last blank line.
    #[default]
    None,
    /// It has fields, but none is `data`: a blank line ends it, and gives it to nobody.
    WithoutData,
    WithData,
}

/// What [`Scanner::step`] took.
pub(super) struct Step<'a> {
    pub(super) piece: Piece<'a>,
    /// What the line is, this piece included.
    pub(super) line: Line,
    /// Whether it is the end of an event that a client is given.
    pub(super) dispatches: bool,
}

impl Scanner {
    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on, and returns how many events these bytes complete.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> u64 {
        if self.is_lost {
            return 0;
        }
        let before = self.events;
        self.read(bytes);
        self.events.wrapping_sub(before)
    }

    /// Reads on, as [`feed`](Self::feed) does, without taking anything from `data`.
    ///
    /// All chunks of a [`Buf`] can be looked at only if it shows them, by
    /// [`Buf::chunks_vectored`]; [`bytes::Bytes`] and what is contiguous does. If one does not (or
    /// has more than 64), the scanner has lost its way for good: it counts no more, whatever it is
    /// fed, and no place is between events or safe.
    #[inline]
    pub fn feed_buf<D: Buf>(&mut self, data: &D) -> u64 {
        if self.is_lost {
            return 0;
        }
        let before = self.events;
        let all_seen = for_each_chunk(data, |chunk| self.read(chunk));
        self.is_lost = !all_seen;
        self.events.wrapping_sub(before)
    }

    #[inline]
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.feed_line(&mut bytes);
        }
    }

    /// How many events a client has been given by now: blank lines that a `data` field precedes.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Whether no event is under way: at the start, and after a blank line and any comments that
    /// follow it. A stream may end here, and nothing is lost.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        self.line == Line::Empty
            && self.event == Event::None
            && !self.lines.is_within_mark()
            && !self.is_lost
    }

    /// Whether whole lines may be put in here: [between events](Self::is_between_events), unless
    /// the last byte was a CR. Then an LF may follow that belongs to it.
    ///
    /// At the very start it is safe too, but a byte order mark that comes after what was put in
    /// is no longer a leading one: it is to be dropped.
    ///
    /// A stream whose lines end with CR alone thus has no safe place but its start.
    #[must_use]
    pub fn is_safe_for_injection(&self) -> bool {
        self.is_between_events() && !self.lines.awaits_lf()
    }

    /// A byte order mark that comes from here on is text. True if there was nothing yet.
    pub(super) fn leave_start(&mut self) -> bool {
        self.lines.leave_start()
    }

    /// Takes a line, or what there is of it, off the front of `bytes`. False if there was nothing.
    #[inline]
    pub(super) fn feed_line(&mut self, bytes: &mut &[u8]) -> bool {
        self.step(bytes).is_some()
    }

    /// The same, and says what it was.
    #[inline]
    pub(super) fn step<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        let piece = self.lines.next(bytes)?;
        let line = self.line.and(piece.text);
        let before = self.events;
        if piece.ends_line {
            self.line = Line::Empty;
            self.end_line(line);
        } else {
            self.line = line;
        }
        Some(Step {
            piece,
            line,
            dispatches: self.events != before,
        })
    }

    #[inline]
    fn end_line(&mut self, line: Line) {
        match line {
            Line::Empty => {
                let event = mem::take(&mut self.event);
                let dispatched = u64::from(event == Event::WithData);
                self.events = self.events.wrapping_add(dispatched);
            }
            Line::Comment => {}
            Line::Data | Line::DataField => self.event = Event::WithData,
            Line::D | Line::Da | Line::Dat | Line::Other => {
                if self.event == Event::None {
                    self.event = Event::WithoutData;
                }
            }
        }
    }
}

impl Line {
    /// This line, once this text is added to it.
    #[inline]
    fn and(self, text: &[u8]) -> Self {
        match (self, text) {
            (Self::Empty, [b'd', b'a', b't', b'a', b':', ..]) => Self::DataField,
            (Self::Comment | Self::DataField | Self::Other, _) | (_, []) => self,
            _ => self.and_some(text),
        }
    }

    /// The same, one byte after the other.
    fn and_some(self, text: &[u8]) -> Self {
        let mut line = self;
        for byte in text {
            line = match (line, byte) {
                (Self::Empty, b':') => return Self::Comment,
                (Self::Empty, b'd') => Self::D,
                (Self::D, b'a') => Self::Da,
                (Self::Da, b't') => Self::Dat,
                (Self::Dat, b'a') => Self::Data,
                (Self::Data, b':') => return Self::DataField,
                _ => return Self::Other,
            };
        }
        line
    }
}
