//! One extended-protocol statement, read in pages from a portal of an open transaction.

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::{Wire, data_row};
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
    /// Runs `before`, then opens `portal` over `sql` and reads at most `max_rows`: one round trip in all.
    /// On an error the transaction is aborted.
    pub async fn open_portal(
        &mut self,
        before: &[&str],
        portal: &str,
        sql: &str,
        params: &[Option<String>],
        max_rows: i32,
    ) -> Result<Page, Failure> {
        let mut out = BytesMut::new();
        let built = (|| -> std::io::Result<()> {
            for statement in before {
                frontend::parse("", statement, [], &mut out)?;
                bind("", &[], &mut out)?;
                frontend::execute("", 0, &mut out)?;
            }
            frontend::parse("", sql, params.iter().map(|_| TEXT), &mut out)?;
            bind(portal, params, &mut out)?;
            frontend::execute(portal, max_rows, &mut out)?;
            frontend::sync(&mut out);
            Ok(())
        })();
        built.map_err(|e| self.broken("the query can't be sent", &e))?;
        self.send(&out).await?;
        self.page(before.len()).await
    }

    /// Reads on.
    pub async fn fetch_portal(&mut self, portal: &str, max_rows: i32) -> Result<Page, Failure> {
        let mut out = BytesMut::new();
        let built = frontend::execute(portal, max_rows, &mut out);
        built.map_err(|e| self.broken("the query can't be sent", &e))?;
        frontend::sync(&mut out);
        self.send(&out).await?;
        self.page(0).await
    }

    /// Gives a portal up.
    pub async fn close_portal(&mut self, portal: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::close(b'P', portal, &mut out).map_err(|e| self.broken("the query can't be closed", &e))?;
        frontend::sync(&mut out);
        self.send(&out).await?;
        self.page(0).await.map(drop)
    }

    /// Reads up to ReadyForQuery. The first `before` results belong to statements whose rows nobody wants.
    async fn page(&mut self, before: usize) -> Result<Page, Failure> {
        let mut page = Page::default();
        let mut ended = 0;
        let mut failed = None;
        loop {
            let message = self.message_after(&mut failed).await?;
            match message.tag {
                b'D' if ended >= before => {
                    page.rows.push(data_row(&message.body).map_err(|e| self.broken("a row", &e))?);
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
