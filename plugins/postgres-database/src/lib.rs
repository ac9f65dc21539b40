//! `postgres-database`: the database that a grant names, made by way of the connection's own.
//!
//! A database that is there already stays as it is; whether it is as asked for, verification says.

use godwit_sdk::prelude::*;

/// The slot whose grant names the database: `{ "connection": …, "database": …, "access": "write" }`.
pub const TARGET: &str = "target";
/// Key of the only effect.
const KEY: &str = "database";

/// Params of `postgres-database`. What isn't given is the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The role that owns it. Default: the connection's user.
    pub owner: Option<String>,
    /// Such as `UTF8`.
    pub encoding: Option<String>,
    /// Both `LC_COLLATE` and `LC_CTYPE`, such as `de_DE.UTF-8`; or the provider's own, such as `de-DE` of ICU.
    pub locale: Option<String>,
    /// Who orders texts. Default: as in the template.
    pub locale_provider: Option<Provider>,
    /// The database that it is a copy of. Default: `template0` where anything of it is said here, else `template1`.
    pub template: Option<String>,
    /// How many sessions there may be at once, superusers' aside; -1 for any number.
    pub connection_limit: Option<i32>,
}

/// Who orders texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    Libc,
    /// From PostgreSQL 15 on.
    Icu,
    /// From PostgreSQL 17 on.
    Builtin,
}

impl Provider {
    fn word(self) -> &'static str {
        match self {
            Self::Libc => "libc",
            Self::Icu => "icu",
            Self::Builtin => "builtin",
        }
    }
}

impl Params {
    fn check(&self) -> Result<()> {
        for (name, value) in [
            ("owner", &self.owner),
            ("encoding", &self.encoding),
            ("locale", &self.locale),
            ("template", &self.template),
        ] {
            if value.as_deref().is_some_and(|text| text.trim().is_empty()) {
                return Err(Error::Invalid(format!("`{name}` is empty; leave it out for the default")));
            }
        }
        if self.connection_limit.is_some_and(|limit| limit < -1) {
            return Err(Error::Invalid("`connection_limit` is below -1, which stands for any number".into()));
        }
        if matches!(self.locale_provider, Some(Provider::Icu | Provider::Builtin)) && self.locale.is_none() {
            return Err(Error::Invalid(
                "`locale_provider` is set without `locale`; name one of its locales, such as `de-DE` of icu"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// What the step did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// False where the database was there already.
    pub created: bool,
}

/// The plugin.
pub struct PostgresDatabase;

impl Step for PostgresDatabase {
    const NAME: &str = "postgres-database";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "creates the PostgreSQL database that its grant names, unless it exists";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![Slot::new(
            TARGET,
            ConnectionKind::Postgres,
            Access::Write,
            "the server, and by `database` of the grant the database to create",
        )]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        params.check()?;
        let Params { owner, encoding, locale, locale_provider, template, connection_limit } = params;
        let locale_provider = locale_provider.map(|provider| provider.word().to_owned());
        let options =
            DatabaseOptions { owner, encoding, locale, locale_provider, template, connection_limit };
        host.submit(vec![host.create_database(TARGET, KEY, options)?])?;
        let done = host.settle()?;
        let result = done.iter().find(|(key, _)| key == KEY).map(|(_, result)| result.as_str());
        result.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
            Error::Failed(format!(
                "the host didn't say whether the database was made: {}",
                result.unwrap_or("no result")
            ))
        })
    }

    fn verify<H: Host>(host: &H, params: Params, _: Outputs) -> Result<Vec<Check>> {
        match found(host, &params) {
            Ok(found) => Ok(found.checks(&params)),
            Err(Error::Missing(why)) => Ok(vec![Check::failed("database", why)]),
            Err(error) => Err(error),
        }
    }
}

/// The database as its server describes it.
#[derive(Debug, Deserialize)]
struct Found {
    name: String,
    owner: String,
    encoding: String,
    /// Whether the encoding is the one asked for, whatever alias it was asked by; none where the server doesn't know it.
    encoding_fits: Option<bool>,
    collate: String,
    ctype: String,
    /// `c` libc, `i`cu, `b`uiltin.
    provider: String,
    /// Of a provider that isn't libc.
    own_locale: Option<String>,
    connection_limit: i32,
}

/// The query runs in the database itself, so that it answers only where the database takes connections.
fn found<H: Host>(host: &H, params: &Params) -> Result<Found> {
    // Providers came with 15; 17 put their locales into one column. `to_jsonb` knows the columns that there are.
    let sql = "SELECT current_database() AS name, pg_get_userbyid(d.datdba) AS owner, \
                 pg_encoding_to_char(d.encoding) AS encoding, \
                 pg_char_to_encoding(COALESCE($1, pg_encoding_to_char(d.encoding))) = d.encoding AS encoding_fits, \
                 d.datcollate AS collate, d.datctype AS ctype, d.datconnlimit AS connection_limit, \
                 COALESCE(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider, \
                 COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS own_locale \
               FROM pg_database d WHERE d.datname = current_database()";
    let rows: Vec<Found> = host.select(TARGET, sql, &[params.encoding.as_deref()])?;
    rows.into_iter().next().ok_or_else(|| Error::Missing("the server doesn't list the database".to_owned()))
}

impl Found {
    fn checks(&self, params: &Params) -> Vec<Check> {
        let mut checks = vec![Check::passed("database").detail(self.name.clone())];
        if let Some(owner) = &params.owner {
            let why = format!("{} belongs to `{}`, not to `{owner}`", self.name, self.owner);
            checks.push(Check::that("owner", self.owner == *owner, why));
        }
        if let Some(encoding) = &params.encoding {
            let why = format!("{} is encoded in {}, not in {encoding}", self.name, self.encoding);
            checks.push(Check::that("encoding", self.encoding_fits == Some(true), why));
        }
        if let Some(provider) = params.locale_provider {
            let letter = if provider == Provider::Libc { "c" } else { &provider.word()[..1] };
            let fits = self.provider == letter;
            let why = format!(
                "{} has another locale provider than {} (`{}`)",
                self.name,
                provider.word(),
                self.provider
            );
            checks.push(Check::that("locale provider", fits, why));
        }
        if let Some(locale) = &params.locale {
            let (fits, has) = match &self.own_locale {
                Some(own) => (own == locale, own.clone()),
                None => (
                    self.collate == *locale && self.ctype == *locale,
                    format!("LC_COLLATE {} and LC_CTYPE {}", self.collate, self.ctype),
                ),
            };
            checks.push(Check::that("locale", fits, format!("{} has {has}, not {locale}", self.name)));
        }
        if let Some(limit) = params.connection_limit {
            let why = format!("{} may have {} sessions, not {limit}", self.name, self.connection_limit);
            checks.push(Check::that("connection limit", self.connection_limit == limit, why));
        }
        checks
    }
}

godwit_sdk::export_step!(PostgresDatabase);
