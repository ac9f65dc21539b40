//! One extended-protocol statement, read in pages from a portal of an open transaction.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use godwit_model::{Error, Fault};

use super::Wire;
use crate::errors::Failure;

/// The object identifier of `text`: what every parameter is declared as.
const TEXT: u32 = 25;

/// Some rows of a portal; values as text.
#[derive(Debug, Default)]
pub struct Page {
    pub rows: Vec<Vec<Option<String>>>,
    /// Nothing comes after them.
    pub done: bool,
}

impl Wire {
    /// Gives the portals `closed` up, runs `before`, then opens `portal` over `sql` and reads at most `max_rows`: one round
    /// trip in all. On an error the transaction is aborted.
    pub async fn open_portal(
        &mut self,
        closed: &[String],
        before: &[&str],
        portal: &str,
        sql: &str,
        params: &[Option<String>],
        max_rows: i32,
    ) -> Result<Page, Failure> {
        let mut out = BytesMut::new();
        let built = (|| -> std::io::Result<()> {
            for portal in closed {
                frontend::close(b'P', portal, &mut out)?;
            }
            for statement in before {
                whole(statement, &[], &mut out)?;
            }
            frontend::parse("", sql, params.iter().map(|_| TEXT), &mut out)?;
            bind(portal, params, &mut out)?;
            frontend::execute(portal, max_rows, &mut out)?;
            frontend::sync(&mut out);
            Ok(())
        })();
        built.map_err(|e| self.broken("the query can't be sent", &e))?;
        self.send(&out).await?;
        self.page(before.len(), usize::MAX).await
    }

    /// Runs `before`, `sql` and `after` in one round trip and reads every row of `sql`: at most `most` bytes of values, or
    /// the connection can't be used any more.
    pub async fn read_whole(
        &mut self,
        before: &[&str],
        sql: &str,
        params: &[Option<String>],
        after: &[&str],
        most: usize,
    ) -> Result<Page, Failure> {
        let mut out = BytesMut::new();
        let built = (|| -> std::io::Result<()> {
            for statement in before {
                whole(statement, &[], &mut out)?;
            }
            whole(sql, params, &mut out)?;
            for statement in after {
                whole(statement, &[], &mut out)?;
            }
            frontend::sync(&mut out);
            Ok(())
        })();
        built.map_err(|e| self.broken("the query can't be sent", &e))?;
        self.send(&out).await?;
        self.page(before.len(), most).await
    }

    /// Reads on.
    pub async fn fetch_portal(&mut self, portal: &str, max_rows: i32) -> Result<Page, Failure> {
        let mut out = BytesMut::new();
        let built = frontend::execute(portal, max_rows, &mut out);
        built.map_err(|e| self.broken("the query can't be sent", &e))?;
        frontend::sync(&mut out);
        self.send(&out).await?;
        self.page(0, usize::MAX).await
    }

    /// Reads up to ReadyForQuery. The first `before` results belong to statements whose rows nobody wants. More than `most`
    /// bytes of values are an error, after which the connection is left in the middle of them.
    async fn page(&mut self, before: usize, most: usize) -> Result<Page, Failure> {
        let mut page = Page::default();
        let mut ended = 0;
        let mut bytes = 0;
        let mut failed = None;
        loop {
            let message = self.message_after(&mut failed).await?;
            match message.tag {
                b'D' if ended >= before => {
                    bytes += message.body.len();
                    if bytes > most {
                        return Err(too_much(most).into());
                    }
                    page.rows.push(self.row(&message.body)?);
                }
                b'C' | b'I' => {
                    ended += 1;
                    page.done = ended > before;
                }
                b'E' => {
                    failed.get_or_insert_with(|| self.failure(&message.body, ended));
                }
                b'Z' => return failed.map_or(Ok(page), Err),
                // ParseComplete, BindComplete, CloseComplete, NoData, PortalSuspended, RowDescription, …
                b'D' | b'1' | b'2' | b'3' | b'n' | b's' | b'T' | b't' => {}
                tag => return Err(self.unexpected(tag)),
            }
        }
    }
}

/// One statement that is read to its end.
fn whole(statement: &str, params: &[Option<String>], out: &mut BytesMut) -> std::io::Result<()> {
    frontend::parse("", statement, params.iter().map(|_| TEXT), out)?;
    bind("", params, out)?;
    frontend::execute("", 0, out)
}

fn too_much(most: usize) -> Error {
    Error::invalid(format!("a query of `answers` answered more than {} MiB", most >> 20))
        .fault(Fault::Plugin)
        .hint("read it page by page by `query`")
}

fn bind(portal: &str, params: &[Option<String>], out: &mut BytesMut) -> std::io::Result<()> {
    frontend::bind(
        portal,
        "",
        [],
        params,
        |param, out| match param {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        },
        [],
        out,
    )
    .map_err(|e| match e {
        frontend::BindError::Serialization(e) => e,
        frontend::BindError::Conversion(e) => std::io::Error::other(e),
    })
}
