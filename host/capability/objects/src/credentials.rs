//! Where a connection's keys come from: its own fields, AWS's environment variables, a profile of AWS's files, nowhere.
//!
//! Variables and files are read by the parser of AWS's own SDK ("Shared config and credentials files"), by the host alone.
//! Of a profile only keys are taken: what would have to be asked for elsewhere (a role, SSO, another program) is refused
//! with the way around it.

use aws_runtime::env_config::EnvConfigValue;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env, Fs};
use futures::FutureExt as _;
use godwit_model::secret::Secret;
use godwit_model::{Error, Result};

/// Keys, and what else a profile tells.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub access_key: String,
    pub secret_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// Fields of a profile by which keys are got that aren't in it, and their names for a person.
const ELSEWHERE: &[&str] = &[
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "login_session",
];

/// What surrounds the process.
pub(crate) struct Surroundings {
    env: Env,
    fs: Fs,
}

impl Surroundings {
    pub fn real() -> Self {
        Self { env: Env::real(), fs: Fs::real() }
    }

    fn var(&self, name: &str) -> Option<String> {
        self.env.get(name).ok().filter(|value| !value.is_empty())
    }

    /// Of the variables, else of the profile that they name.
    pub fn environment(&self, connection: &str) -> Result<Found> {
        match (self.var("AWS_ACCESS_KEY_ID"), self.var("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key), Some(secret_key)) => {
                // A profile beside them may still tell region and endpoint.
                let sections = self.sections(connection)?;
                Ok(Found {
                    access_key,
                    secret_key: Some(Secret::new(secret_key)),
                    session_token: self.var("AWS_SESSION_TOKEN").map(Secret::new),
                    region: self.region(None, &sections),
                    endpoint: self.endpoint(&sections),
                })
            }
            (None, None) => match self.profile(connection, None) {
                Err(error) if self.var("AWS_PROFILE").is_none() => Err(Error::invalid(format!(
                    "connection `{connection}`: the environment has no AWS_ACCESS_KEY_ID, and {}",
                    error.message
                ))
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")),
                other => other,
            },
            (one, _) => {
                let (has, lacks) = match one {
                    Some(_) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
                    None => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
                };
                Err(Error::invalid(format!(
                    "connection `{connection}`: the environment has {has}, but no {lacks}"
                )))
            }
        }
    }

    /// Of a profile; `None`: the one that AWS_PROFILE names, else `default`.
    pub fn profile(&self, connection: &str, name: Option<&str>) -> Result<Found> {
        let sections = self.sections(connection)?;
        let name = name.unwrap_or_else(|| sections.selected_profile());
        let wrong = |why: String| Error::invalid(format!("connection `{connection}`: {why}"));
        let Some(profile) = sections.get_profile(name) else {
            let mut known: Vec<&str> = sections.profiles().collect();
            known.sort_unstable();
            let hint = match known.as_slice() {
                [] => "no file of AWS's has a profile: AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE may name them"
                    .to_owned(),
                known => format!("the profiles are: {}", known.join(", ")),
            };
            return Err(wrong(format!("there is no AWS profile `{name}`")).hint(hint));
        };
        let text = |field: &str| profile.get(field).filter(|value| !value.is_empty());
        if let Some(field) = ELSEWHERE.iter().find(|field| text(field).is_some())
            && text("aws_access_key_id").is_none_or(|_| *field == "role_arn")
        {
            return Err(wrong(format!(
                "the AWS profile `{name}` has its keys got elsewhere (`{field}`), which isn't done here"
            ))
            .hint(format!(
                "`eval \"$(aws configure export-credentials --profile {name} --format env)\"`, and \
                 \"credentials\": \"environment\""
            )));
        }
        let needed = |field: &str| {
            text(field)
                .map(str::to_owned)
                .ok_or_else(|| wrong(format!("the AWS profile `{name}` has no `{field}`")))
        };
        Ok(Found {
            access_key: needed("aws_access_key_id")?,
            secret_key: Some(Secret::new(needed("aws_secret_access_key")?)),
            session_token: text("aws_session_token").map(Secret::new),
            region: self.region(Some(profile.get("region")), &sections),
            endpoint: match profile.get("endpoint_url") {
                Some(endpoint) if name != sections.selected_profile() => Some(endpoint.to_owned()),
                _ => self.endpoint(&sections),
            },
        })
    }

    fn region(&self, profile: Option<Option<&str>>, sections: &EnvConfigSections) -> Option<String> {
        let told = match profile {
            // A profile that is named goes before the variables.
            Some(region) => region.map(str::to_owned).or_else(|| self.var("AWS_REGION")),
            None => self.var("AWS_REGION"),
        };
        told.or_else(|| self.var("AWS_DEFAULT_REGION")).or_else(|| sections.get("region").map(str::to_owned))
    }

    /// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or what the selected profile has in their stead.
    fn endpoint(&self, sections: &EnvConfigSections) -> Option<String> {
        EnvConfigValue::new()
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .service_id("s3")
            .validate(&self.env, Some(sections), |text| Ok::<_, std::convert::Infallible>(text.to_owned()))
            .ok()
            .flatten()
    }

    fn sections(&self, connection: &str) -> Result<EnvConfigSections> {
        let files = EnvConfigFiles::default();
        let wrong = |why: &dyn std::fmt::Display| {
            Error::invalid(format!("connection `{connection}`: AWS's files can't be read: {why}"))
        };
        // The files are read in place; nothing is waited for.
        let loaded = source::load(&self.env, &self.fs, &files)
            .now_or_never()
            .ok_or_else(|| wrong(&"the reading was put off"))?
            .map_err(|error| wrong(&error))?;
        EnvConfigSections::parse(loaded).map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = DEF\naws_secret_access_key = not-a-secret-1\n\
                               [work]\naws_access_key_id = WORK\naws_secret_access_key = not-a-secret-2\n\
                               aws_session_token = not-a-token\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile work]\nregion = eu-central-1\n\
                          endpoint_url = https://storage.example.com\n[profile role]\nrole_arn = arn:x\n\
                          source_profile = work\n[profile half]\naws_access_key_id = HALF\n";

    fn surroundings(vars: &[(&str, &str)]) -> Surroundings {
        let mut all = vec![("AWS_SHARED_CREDENTIALS_FILE", "/c"), ("AWS_CONFIG_FILE", "/f")];
        all.extend_from_slice(vars);
        Surroundings {
            env: Env::from_slice(&all),
            fs: Fs::from_slice(&[("/c", CREDENTIALS), ("/f", CONFIG)]),
        }
    }

    #[test]
    fn variables_come_before_profiles() {
        let found = surroundings(&[
            ("AWS_ACCESS_KEY_ID", "VAR"),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret-3"),
            ("AWS_SESSION_TOKEN", "not-a-token-3"),
            ("AWS_ENDPOINT_URL", "https://elsewhere.example.com"),
        ])
        .environment("store")
        .unwrap();
        assert_eq!((found.access_key.as_str(), found.region.as_deref()), ("VAR", Some("eu-west-1")));
        assert_eq!(found.session_token.as_ref().map(Secret::expose), Some("not-a-token-3"));
        assert_eq!(found.endpoint.as_deref(), Some("https://elsewhere.example.com"));
        assert!(!format!("{found:?}").contains("not-a-"));
        let found = surroundings(&[("AWS_PROFILE", "work")]).environment("store").unwrap();
        assert_eq!((found.access_key.as_str(), found.region.as_deref()), ("WORK", Some("eu-central-1")));
        assert_eq!(found.endpoint.as_deref(), Some("https://storage.example.com"));
    }

    #[test]
    fn a_profile_that_is_named_tells_keys_region_and_endpoint() {
        let found = surroundings(&[("AWS_REGION", "us-west-2")]).profile("store", Some("work")).unwrap();
        assert_eq!((found.access_key.as_str(), found.region.as_deref()), ("WORK", Some("eu-central-1")));
        assert_eq!(found.endpoint.as_deref(), Some("https://storage.example.com"));
        assert_eq!(found.secret_key.as_ref().map(Secret::expose), Some("not-a-secret-2"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |vars: &[(&str, &str)]| surroundings(vars).environment("store").unwrap_err();
        assert!(error(&[("AWS_PROFILE", "none")]).message.contains("no AWS profile `none`"));
        assert!(error(&[("AWS_PROFILE", "none")]).hint.unwrap().contains("default, half, role, work"));
        assert!(error(&[("AWS_PROFILE", "role")]).message.contains("`role_arn`"));
        assert!(error(&[("AWS_PROFILE", "half")]).message.contains("has no `aws_secret_access_key`"));
        assert!(error(&[("AWS_ACCESS_KEY_ID", "x")]).message.contains("no AWS_SECRET_ACCESS_KEY"));
        let bare = Surroundings { env: Env::from_slice(&[]), fs: Fs::from_slice(&[]) };
        let error = bare.environment("store").unwrap_err();
        assert!(error.message.contains("no AWS_ACCESS_KEY_ID") && error.hint.is_some(), "{error}");
    }
}
