//! A thin connection of our own, for what well-kept clients can't do: COPY with frames forwarded untouched, an exported
//! snapshot, several portals in one transaction, one round trip per request, channel binding.
//!
//! PostgreSQL manual, chapter 55 «Frontend/Backend Protocol», version 3.0.

mod copy;
mod portal;
mod startup;
mod stream;

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use godwit_model::Error;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::errors::{Failure, ServerFields, io_error, server_failure};
use crate::pool::Enlisted;
use stream::Stream;

pub use copy::put_frame;
pub use portal::Page;

/// Bytes read at once.
const READ: usize = 256 << 10;
/// A message that isn't COPY data is never larger: what claims to be isn't PostgreSQL's protocol.
const LARGEST_MESSAGE: usize = 1 << 30;

/// A connection in one of PostgreSQL's simple or extended query cycles.
///
/// Whoever gets an error that isn't the server's own drops the connection; after a failed COPY always.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// Read and not yet understood.
    inbox: BytesMut,
    /// Payload bytes of the current CopyData frame that have yet to come.
    pending_frame: usize,
    /// Requests whose answers nobody waits for: each ends with a ReadyForQuery, before which all is passed over.
    unawaited: usize,
    /// The server process behind it.
    pub backend: Option<u32>,
    /// Keeps the process on the list of those in use.
    pub enlisted: Option<Enlisted>,
    /// The server without credentials, for messages.
    at: String,
}

/// One result of a simple query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Values as text.
    pub rows: Vec<Vec<Option<String>>>,
    /// `SELECT 3`, `COPY 17`.
    pub tag: String,
}

impl Reply {
    /// The value of the first column of the first row.
    pub fn one(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// The count at the tag's end.
    pub fn affected(&self) -> u64 {
        self.tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

/// A message of the server: its tag and its body.
struct Message {
    tag: u8,
    body: Bytes,
}

impl Wire {
    /// Runs one or more statements by the simple protocol: one round trip.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.ask(sql).await?;
        self.replies(true).await
    }

    /// The same, without keeping rows.
    pub async fn simple_quietly(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.ask(sql).await?;
        self.replies(false).await
    }

    async fn ask(&mut self, sql: &str) -> Result<(), Failure> {
        let mut out = BytesMut::with_capacity(sql.len() + 16);
        frontend::query(sql, &mut out).map_err(|e| self.broken("the statement can't be sent", &e))?;
        self.send(&out).await
    }

    /// Sends statements without waiting for what comes of them: an error of theirs comes with the next request.
    pub async fn simple_unawaited(&mut self, sql: &str) -> Result<(), Failure> {
        self.ask(sql).await?;
        self.unawaited += 1;
        Ok(())
    }

    /// The results up to ReadyForQuery, with their rows or without. An error comes after the server is ready again.
    async fn replies(&mut self, rows: bool) -> Result<Vec<Reply>, Failure> {
        let mut replies = Vec::new();
        let mut current = Reply::default();
        let mut failed = None;
        loop {
            let message = self.message_after(&mut failed).await?;
            match message.tag {
                b'D' if rows => current.rows.push(self.row(&message.body)?),
                b'C' => {
                    current.tag = text(&message.body).to_owned();
                    replies.push(std::mem::take(&mut current));
                }
                b'I' => replies.push(Reply::default()),
                b'E' => {
                    failed.get_or_insert_with(|| self.failure(&message.body, replies.len()));
                }
                b'Z' => return failed.map_or(Ok(replies), Err),
                b'D' | b'T' | b'1' | b'2' | b'3' | b'n' | b't' | b's' => {}
                tag => return Err(self.unexpected(tag)),
            }
        }
    }

    /// The next message that isn't a notice, a parameter's status or a notification.
    async fn message(&mut self) -> Result<Message, Failure> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The next message; where none comes any more, an error that the server had sent before says why.
    async fn message_after(&mut self, failed: &mut Option<Failure>) -> Result<Message, Failure> {
        self.message().await.map_err(|closed| failed.take().unwrap_or(closed))
    }

    /// A whole message from the inbox, passing over what may come at any time.
    fn buffered(&mut self) -> Result<Option<Message>, Failure> {
        while let Some((tag, len)) = header(&self.inbox) {
            if !(4..=LARGEST_MESSAGE).contains(&len) {
                return Err(
                    Error::failed(format!("{}: what came isn't PostgreSQL's protocol", self.at)).into()
                );
            }
            if self.inbox.len() < len + 1 {
                self.inbox.reserve(len + 1 - self.inbox.len());
                return Ok(None);
            }
            let mut body = self.inbox.split_to(len + 1).freeze();
            body.advance(5);
            match tag {
                b'N' | b'S' | b'A' => {}
                b'Z' if self.unawaited > 0 => self.unawaited -= 1,
                b'E' if self.unawaited > 0 => return Err(self.failure(&body, 0)),
                _ if self.unawaited > 0 => {}
                _ => return Ok(Some(Message { tag, body })),
            }
        }
        Ok(None)
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        self.inbox.reserve(READ);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) => Err(self.closed()),
            Ok(_) => Ok(()),
            Err(e) => Err(self.broken("the connection broke", &e)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match sent.await {
            Ok(()) => Ok(()),
            // The server says why before it hangs up.
            Err(e) => Err(self.last_words().await.unwrap_or_else(|| self.broken("the connection broke", &e))),
        }
    }

    /// An error that the server sent before it closed the connection.
    async fn last_words(&mut self) -> Option<Failure> {
        loop {
            match self.buffered() {
                Ok(Some(message)) if message.tag == b'E' => return Some(self.failure(&message.body, 0)),
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.inbox.reserve(4096);
                    match self.stream.read_buf(&mut self.inbox).await {
                        Ok(0) | Err(_) => return None,
                        Ok(_) => {}
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// The values of a row as texts. Only a database that doesn't know its encoding has others: replaced by something they
    /// would go on as what they are not.
    fn row(&self, body: &[u8]) -> Result<Vec<Option<String>>, Failure> {
        let values = data_row(body)
            .ok_or_else(|| Error::failed(format!("{}: a row is shorter than it says", self.at)))?;
        let text = |value: &[u8]| {
            String::from_utf8(value.to_vec()).map_err(|e| {
                let shown = e.as_bytes()[..e.as_bytes().len().min(200)].escape_ascii();
                Error::failed(format!(
                    "{}: the database keeps bytes of any encoding (SQL_ASCII), and a value that has to be read as a text \
                     isn't UTF-8: {shown}",
                    self.at
                ))
                .hint("change that name, comment or value at the source; rows that are only copied may hold any bytes")
            })
        };
        Ok(values.into_iter().map(|value| value.map(text).transpose()).collect::<Result<_, Error>>()?)
    }

    fn failure(&self, body: &Bytes, completed: usize) -> Failure {
        server_failure(&self.at, error_fields(body), completed)
    }

    fn broken(&self, what: &str, error: &io::Error) -> Failure {
        io_error(&self.at, what, error).into()
    }

    fn closed(&self) -> Failure {
        Error::unavailable(format!("{}: the server closed the connection", self.at))
            .hint("see the server's log for why")
            .into()
    }

    fn unexpected(&self, tag: u8) -> Failure {
        Error::failed(format!("{}: message `{}` came out of turn", self.at, tag.escape_ascii())).into()
    }
}

/// Tag and length (which counts itself) of the message at the front.
fn header(buffer: &[u8]) -> Option<(u8, usize)> {
    let (tag, rest) = buffer.split_first()?;
    let len = rest.first_chunk::<4>()?;
    Some((*tag, u32::from_be_bytes(*len) as usize))
}

/// Text up to the first NUL.
fn text(body: &[u8]) -> &str {
    let end = body.iter().position(|b| *b == 0).unwrap_or(body.len());
    std::str::from_utf8(&body[..end]).unwrap_or("")
}

/// The values of a DataRow in text format; none where they are shorter than they say.
fn data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let count = u16::from_be_bytes(*count);
    let mut row = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*len)) {
            Err(_) => row.push(None),
            Ok(len) => {
                let (value, after) = rest.split_at_checked(len)?;
                row.push(Some(value));
                rest = after;
            }
        }
    }
    Some(row)
}

/// The fields of an ErrorResponse (manual, section 55.8).
fn error_fields(mut body: &[u8]) -> ServerFields {
    let mut fields = ServerFields::default();
    while let Some((kind, rest)) = body.split_first().filter(|(kind, _)| **kind != 0) {
        let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        let value = String::from_utf8_lossy(&rest[..end]).into_owned();
        match kind {
            b'C' => fields.code = value,
            b'M' => fields.message = value,
            b'D' => fields.detail = Some(value),
            b'H' => fields.hint = Some(value),
            b'W' => fields.context = Some(value),
            b'P' => fields.position = value.parse().ok(),
            b's' => fields.schema = Some(value),
            b't' => fields.table = Some(value),
            b'n' => fields.constraint = Some(value),
            _ => {}
        }
        body = rest.get(end + 1..).unwrap_or(&[]);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_nulls() {
        let body = [&[0, 2][..], &(-1i32).to_be_bytes(), &3i32.to_be_bytes(), b"abc"].concat();
        assert_eq!(data_row(&body).unwrap(), vec![None, Some(&b"abc"[..])]);
        assert_eq!(data_row(&body[..9]), None);
        assert_eq!(data_row(&[0]), None);
    }

    #[test]
    fn errors_keep_their_fields() {
        let fields =
            error_fields(b"SERROR\0C23505\0Mduplicate key\0DKey (a)=(1) exists.\0P7\0st\0tt2\0nt_pkey\0\0");
        assert_eq!((fields.code.as_str(), fields.message.as_str()), ("23505", "duplicate key"));
        assert_eq!(fields.position, Some(7));
        assert_eq!(fields.constraint.as_deref(), Some("t_pkey"));
        // Cut off in the middle: what came is kept, nothing panics.
        assert_eq!(error_fields(b"C23505\0Mdupl").message, "dupl");
    }

    #[test]
    fn counts_from_tags() {
        let reply = |tag: &str| Reply { tag: tag.into(), ..Reply::default() }.affected();
        assert_eq!((reply("COPY 17"), reply("INSERT 0 1"), reply("BEGIN")), (17, 1, 0));
    }
}
