//! What a layer was found to do.

use std::fmt;

/// What a layer leaves as it is: a group of checks, and what it can be
/// [excepted](Report::except) from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// Each request calls the service once, whatever became of others. Checks `call.*`.
    Calls,
    /// `poll_ready` is the service's, and the service that was asked is the one that is called.
    /// Checks `ready.*`.
    Readiness,
    /// The service's errors reach the server. Checks `service.*`.
    ServiceErrors,
    /// The request's method, target, version, foreign fields and extensions reach the service.
    /// Checks `request.*`.
    RequestHead,
    /// The request's body reaches the service as it is and when it comes. Checks
    /// `request_body.*`.
    RequestBody,
    /// Upgrades and CONNECT work. Checks `upgrade.*`, `connect.*`.
    Upgrades,
    /// The response's head comes at once, with its status, version, foreign fields and extensions.
    /// Checks `head.*`, but for `head.content_length`.
    ResponseHead,
    /// One frame in, one frame out, at the poll that yields it. Checks `frames.*`, but for the
    /// following two.
    Frames,
    /// The bytes are the service's. Check `frames.content`.
    Content,
    /// Frames are handed on in their own memory. Check `frames.no_copy`.
    Memory,
    /// Trailers reach the client. Checks `trailers.*`.
    Trailers,
    /// Errors of the body come once, after the frames before them. Checks `errors.*`.
    Errors,
    /// Nothing is polled that the server did not poll. Checks `polls.*`.
    Polls,
    /// `size_hint` and `content-length` are the service's. Checks `size_hint.*`,
    /// `head.content_length`.
    SizeHint,
    /// `is_end_stream` is the service's. Checks `end_stream.*`.
    EndStream,
    /// What is dropped outside is dropped inside, at once. Checks `drop.*`.
    Cancellation,
    /// The last task that polled is woken, when there is reason to. Checks `wakers.*`.
    Wakers,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// What was expected was seen.
    Passed,
    /// Something else was seen.
    Failed,
    /// It never came to what is to be looked at: something else is wrong, in most cases with a check
    /// of its own. Nothing is known, so a report with it does not pass.
    Unseen,
    /// It is not as expected, or was not seen, and that is [excepted](Report::except).
    Excepted,
    /// It makes no sense for this service, for the reason observed.
    NotApplicable,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Unseen => "UNSEEN",
            Self::Excepted => "excepted",
            Self::NotApplicable => "n/a",
        })
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The check's name, such as `size_hint.before`. Names stay what they are; new ones may come.
    pub check: &'static str,
    /// What the check belongs to.
    pub capability: Capability,
    /// What came of it.
    pub verdict: Verdict,
    /// What should have been seen, in words. Empty if it was not seen.
    pub expected: String,
    /// What was seen, in words, or why nothing was.
    pub observed: String,
    /// What it does to a user if this check fails.
    pub consequence: &'static str,
}

/// What all checks found, in the order of an exchange.
///
/// [`Display`](fmt::Display) prints a table of all findings, and the consequence of each failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report says nothing unless it is looked at: see `Report::assert`"]
pub struct Report {
    findings: Vec<Finding>,
    needless: Vec<Capability>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            needless: Vec::new(),
        }
    }

    /// Accepts that the layer changes this by design: what does not pass of its checks is
    /// [`Excepted`](Verdict::Excepted).
    ///
    /// An exception that excuses nothing is [reported](Report::needless_exceptions), so that it
    /// does not outlive its reason.
    ///
    /// ```
    /// use tower::util::MapResponseLayer;
    /// use tower_passthrough::conformance::{self, Capability, ScriptedBody};
    ///
    /// let teapot = MapResponseLayer::new(|mut response: http::Response<ScriptedBody>| {
    ///     *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
    ///     response
    /// });
    /// let report = conformance::check(teapot)
    ///     .except(Capability::ResponseHead)
    ///     .except(Capability::Upgrades); // no 101 is left
    /// assert!(report.passes());
    /// ```
    pub fn except(mut self, capability: Capability) -> Self {
        let mut excused = false;
        for finding in &mut self.findings {
            let deviates = matches!(finding.verdict, Verdict::Failed | Verdict::Unseen);
            if deviates && finding.capability == capability {
                finding.verdict = Verdict::Excepted;
                excused = true;
            }
        }
        if !excused {
            self.needless.push(capability);
        }
        self
    }

    /// All findings.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Those that keep the report from passing: [`Failed`](Verdict::Failed) and
    /// [`Unseen`](Verdict::Unseen).
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| matches!(finding.verdict, Verdict::Failed | Verdict::Unseen))
    }

    /// Exceptions that excuse nothing (any more).
    #[must_use]
    pub fn needless_exceptions(&self) -> &[Capability] {
        &self.needless
    }

    /// Whether nothing failed, nothing was left unseen, and each exception was needed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failures().next().is_none() && self.needless.is_empty()
    }

    /// For a test.
    ///
    /// # Panics
    ///
    /// With the table, if the report does not [pass](Report::passes).
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passes(), "the layer is not streaming-safe\n\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = self.width("check", |finding| finding.check);
        let expected = self.width("expected", |finding| &finding.expected);

        writeln!(
            f,
            "{:check$}  {:8}  {:expected$}  observed",
            "check", "verdict", "expected"
        )?;
        for finding in &self.findings {
            finding.write_row(f, check, expected)?;
        }
        for capability in &self.needless {
            writeln!(f, "the exception for {capability} is not needed")?;
        }
        self.write_counts(f)
    }
}

impl Report {
    /// How wide a column is that has this title.
    fn width(&self, title: &str, column: fn(&Finding) -> &str) -> usize {
        let findings = self.findings.iter();
        let widths = findings.map(|finding| column(finding).chars().count());
        widths.max().unwrap_or(0).clamp(title.len(), WIDEST)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of| {
            let findings = self.findings.iter();
            findings.filter(|finding| finding.verdict == of).count()
        };
        write!(
            f,
            "{} checks: {} passed, {} failed, {} unseen, {} excepted, {} not applicable",
            self.findings.len(),
            count(Verdict::Passed),
            count(Verdict::Failed),
            count(Verdict::Unseen),
            count(Verdict::Excepted),
            count(Verdict::NotApplicable),
        )
    }
}

impl Finding {
    /// Writes its row of the table, with columns of these widths, and the consequence if it failed.
    fn write_row(&self, f: &mut fmt::Formatter<'_>, check: usize, expected: usize) -> fmt::Result {
        writeln!(
            f,
            "{:check$}  {:8}  {:expected$}  {}",
            self.check, self.verdict, self.expected, self.observed
        )?;
        if self.verdict == Verdict::Failed {
            writeln!(f, "    = {}", self.consequence)?;
        }
        Ok(())
    }
}

/// A column is no wider, so that one long text does not stretch the table.
const WIDEST: usize = 40;
