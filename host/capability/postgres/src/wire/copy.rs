//! COPY in both directions: CopyData frames out of one connection are written into the other one as they are.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use godwit_model::Error;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf as poll_fill;

use super::{READ, Reply, Wire, header, text};
use crate::digest::RowFold;
use crate::errors::Failure;

/// A frame up to this size is taken whole; a larger one is forwarded as it comes.
const WHOLE_FRAME: usize = 1 << 20;
/// As much is gathered before it is handed on, if it is there already.
const BLOCK: usize = 64 << 10;

impl Wire {
    /// Starts statements of which the last one is a COPY TO STDOUT.
    pub async fn copy_out(&mut self, sql: &str) -> Result<(), Failure> {
        self.start_copy(sql, b'H').await.map(drop)
    }

    /// Starts statements of which the last one is a COPY FROM STDIN; the results of those before it.
    pub async fn copy_in(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.start_copy(sql, b'G').await
    }

    async fn start_copy(&mut self, sql: &str, response: u8) -> Result<Vec<Reply>, Failure> {
        let mut out = BytesMut::with_capacity(sql.len() + 16);
        frontend::query(sql, &mut out).map_err(|e| self.broken("the statement can't be sent", &e))?;
        self.send(&out).await?;
        let mut replies = Vec::new();
        let mut current = Reply::default();
        let mut failed = None;
        loop {
            let message = self.message_after(&mut failed).await?;
            match message.tag {
                b'D' => current.rows.push(self.row(&message.body)?),
                b'C' => {
                    current.tag = text(&message.body).to_owned();
                    replies.push(std::mem::take(&mut current));
                }
                b'E' => {
                    failed.get_or_insert_with(|| self.failure(&message.body, replies.len()));
                }
                b'Z' => return Err(failed.unwrap_or_else(|| self.unexpected(b'Z'))),
                b'T' => {}
                tag if tag == response => return Ok(replies),
                tag => return Err(self.unexpected(tag)),
            }
        }
    }

    /// The next bytes of a COPY TO STDOUT: whole CopyData frames, or a piece of a large one, folded on the way.
    /// `None` when the server has sent everything and is ready again.
    pub async fn copy_block(&mut self, fold: &mut RowFold) -> Result<Option<Bytes>, Failure> {
        let mut scanned = 0;
        loop {
            let (at, stop) = self.scan(scanned, fold)?;
            if at >= BLOCK || (at > 0 && stop) {
                return Ok(Some(self.inbox.split_to(at).freeze()));
            }
            if stop {
                return self.end_of_copy().await.map(|()| None);
            }
            scanned = at;
            if at == 0 {
                self.fill().await?;
            } else if !self.fill_now()? {
                return Ok(Some(self.inbox.split_to(at).freeze()));
            }
        }
    }

    /// Walks over frames from `at`; returns how far it came and whether another message follows.
    fn scan(&mut self, mut at: usize, fold: &mut RowFold) -> Result<(usize, bool), Failure> {
        loop {
            let rest = &self.inbox[at..];
            if self.pending_frame > 0 {
                let take = self.pending_frame.min(rest.len());
                if take == 0 {
                    return Ok((at, false));
                }
                fold.more(&rest[..take]);
                self.pending_frame -= take;
                at += take;
                if self.pending_frame == 0 {
                    fold.end();
                }
                continue;
            }
            let Some((tag, len)) = header(rest) else { return Ok((at, false)) };
            if tag != b'd' {
                return Ok((at, true));
            }
            let payload = len.checked_sub(4).ok_or_else(|| self.unexpected(tag))?;
            let rest = &rest[5..];
            if rest.len() >= payload {
                fold.frame(&rest[..payload]);
                at += 5 + payload;
            } else if payload > WHOLE_FRAME && rest.len() >= RowFold::HEAD {
                fold.begin();
                self.pending_frame = payload;
                at += 5;
            } else {
                return Ok((at, false));
            }
        }
    }

    /// Whole rows of a COPY TO STDOUT in text format, appended to `rows` until it holds `enough` bytes.
    /// False when the server has sent everything. A row above `max_row` bytes is an error.
    pub async fn copy_rows(
        &mut self,
        rows: &mut BytesMut,
        enough: usize,
        max_row: usize,
    ) -> Result<bool, Failure> {
        while rows.len() < enough {
            match header(&self.inbox) {
                Some((b'd', len)) => {
                    let payload = len.checked_sub(4).ok_or_else(|| self.unexpected(b'd'))?;
                    if payload > max_row {
                        return Err(Error::failed(format!(
                            "a row of {payload} bytes is larger than a transform may get ({max_row})"
                        ))
                        .hint("leave the table without a transform, or shorten the row")
                        .into());
                    }
                    if self.inbox.len() < 5 + payload {
                        self.fill().await?;
                        continue;
                    }
                    rows.extend_from_slice(&self.inbox[5..5 + payload]);
                    self.inbox.advance(5 + payload);
                }
                Some(_) => {
                    self.end_of_copy().await?;
                    return Ok(false);
                }
                None => self.fill().await?,
            }
        }
        Ok(true)
    }

    /// CopyDone, CommandComplete, ReadyForQuery; or why not.
    async fn end_of_copy(&mut self) -> Result<(), Failure> {
        let mut failed = None;
        loop {
            let message = self.message_after(&mut failed).await?;
            match message.tag {
                b'c' | b'C' => {}
                b'E' => failed = Some(self.failure(&message.body, 0)),
                b'Z' => return failed.map_or(Ok(()), Err),
                tag => return Err(self.unexpected(tag)),
            }
        }
    }

    /// Reads what is there already. False when nothing is.
    fn fill_now(&mut self) -> Result<bool, Failure> {
        self.inbox.reserve(READ);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match poll_fill(Pin::new(&mut self.stream), &mut cx, &mut self.inbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(self.closed()),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(e)) => Err(self.broken("the connection broke", &e)),
        }
    }

    /// Writes bytes of a COPY FROM STDIN, which are CopyData frames already. The read side is polled all the while:
    /// a server that has something to say (an error, a flood of notices) is heard, and nobody waits for the other.
    pub async fn copy_send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|cx| {
                if let Some(failed) = self.hear(cx) {
                    return Poll::Ready(Err(failed));
                }
                match Pin::new(&mut self.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => Poll::Ready(Err(self.closed())),
                    Poll::Ready(Ok(n)) => Poll::Ready(Ok(n)),
                    Poll::Ready(Err(e)) => Poll::Ready(Err(self.broken("the connection broke", &e))),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            match written {
                Ok(n) => rest = &rest[n..],
                Err(e) => return Err(self.last_words_or(e).await),
            }
        }
        Ok(())
    }

    /// Reads without waiting; an error of the server is what it returns.
    fn hear(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        loop {
            match self.buffered() {
                Ok(Some(message)) if message.tag == b'E' => return Some(self.failure(&message.body, 0)),
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(e) => return Some(e),
            }
            self.inbox.reserve(4096);
            match poll_fill(Pin::new(&mut self.stream), cx, &mut self.inbox) {
                Poll::Pending => return None,
                Poll::Ready(Ok(0)) => return Some(self.closed()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Some(self.broken("the connection broke", &e)),
            }
        }
    }

    /// Whether an idle connection still has a server behind it, as far as can be told without asking.
    pub fn is_open(&mut self) -> bool {
        self.hear(&mut Context::from_waker(std::task::Waker::noop())).is_none()
    }

    /// A reset may overtake the server's own words.
    async fn last_words_or(&mut self, failure: Failure) -> Failure {
        if failure.error.code.is_some() { failure } else { self.last_words().await.unwrap_or(failure) }
    }

    /// Ends a COPY FROM STDIN and runs `then` in the same round trip. The results of the COPY, then of `then`.
    /// Where the COPY failed, `then` runs in an aborted transaction, that is, not at all.
    pub async fn copy_end(&mut self, then: &str) -> Result<Vec<Reply>, Failure> {
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        frontend::query(then, &mut out).map_err(|e| self.broken("the statement can't be sent", &e))?;
        self.send(&out).await?;
        let copied = self.replies(true).await;
        let then = self.replies(true).await;
        let mut replies = copied?;
        replies.extend(then?);
        Ok(replies)
    }

    /// Ends the session in good order; the server needs no time-out to notice.
    pub async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // Nothing depends on it: a server that is gone has ended the session as well.
        let _ = self.stream.write_all(&out).await;
        let _ = self.stream.shutdown().await;
    }
}

/// Puts `payload` into CopyData frames of our own.
pub fn put_frame(payload: &[u8], out: &mut BytesMut) {
    use bytes::BufMut;
    // A frame's length is a signed 32-bit number (manual, section 55.7).
    for piece in payload.chunks(1 << 20) {
        out.reserve(piece.len() + 5);
        out.put_u8(b'd');
        out.put_u32(piece.len() as u32 + 4);
        out.put_slice(piece);
    }
}
