//! What became of the answers that were streamed, for the page to compare with what arrived.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::{Json, http::StatusCode};
use serde_json::{Value, json};

/// How many are remembered.
const KEPT: usize = 100;

/// Clones share what is remembered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    begun: u64,
    answers: BTreeMap<u64, Record>,
}

#[derive(Debug, Default)]
struct Record {
    /// Milliseconds since the request came.
    sent: Vec<u64>,
    is_over: bool,
}

impl Answers {
    pub(super) fn begin(&self) -> Answer {
        let mut book = self.book();
        book.begun += 1;
        let number = book.begun;
        book.answers.insert(number, Record::default());
        if book.answers.len() > KEPT {
            book.answers.pop_first();
        }
        Answer {
            number,
            begun: Instant::now(),
            answers: self.clone(),
        }
    }

    /// `GET /demo/answers/7`
    pub(super) fn show(&self, number: u64) -> Result<Json<Value>, StatusCode> {
        let book = self.book();
        let record = book.answers.get(&number).ok_or(StatusCode::NOT_FOUND)?;
        Ok(Json(
            json!({ "sent_ms": record.sent, "over": record.is_over }),
        ))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is being streamed. It is over when this is dropped, as by a client's hang-up.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) number: u64,
    begun: Instant,
    answers: Answers,
}

impl Answer {
    /// Remembers that a token is sent now: how many milliseconds after the request came.
    pub(super) fn send(&self) -> u64 {
        let sent = self.begun.elapsed().as_millis();
        let sent = u64::try_from(sent).unwrap_or(u64::MAX);
        if let Some(record) = self.answers.book().answers.get_mut(&self.number) {
            record.sent.push(sent);
        }
        sent
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(record) = self.answers.book().answers.get_mut(&self.number) {
            record.is_over = true;
        }
    }
}
