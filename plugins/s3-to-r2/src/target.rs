//! Buckets at the target: made, with CORS rules and settings, before objects arrive.

use godwit_s3_walk::{Mapping, SOURCE, TARGET};
use godwit_sdk::prelude::*;

use crate::params::{Params, Rule};
use crate::verify;

/// The word that carries a setting over instead of giving a document.
const FROM_SOURCE: &str = "source";

/// How messages and outputs call CORS rules that the target can't have.
const CORS: &str = "cors";

/// Why an endpoint's buckets can't have CORS rules; `None` where they can.
pub fn lacks_cors(endpoint: &Endpoint) -> Option<String> {
    (!endpoint.cors).then(|| {
        format!(
            "{} buckets take no CORS rules; the server has its own for all of them (MinIO: `cors_allow_origin`)",
            endpoint.vendor
        )
    })
}

/// A bucket at the target, as it was before the step touched it.
pub struct Target {
    pub bucket: String,
    pub exists: bool,
    /// What the bucket's rules are to be; empty: left alone.
    pub cors: Vec<CorsRule>,
    /// The bucket's rules are others than those.
    pub cors_due: bool,
    /// Why the target can't have rules that were asked for.
    pub cors_lack: Option<String>,
    pub settings: Vec<SettingDue>,
}

/// What is to become of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingDue {
    pub name: BucketSetting,
    /// The document to set; `None` where nothing is to be done.
    pub document: Option<String>,
    /// Why the target can't have it.
    pub lacks: Option<String>,
}

impl Target {
    /// All facts are memoised: the step's own effects change them.
    pub fn look<H: Host>(host: &H, params: &Params, mapping: &Mapping, endpoint: &Endpoint) -> Result<Self> {
        let bucket = mapping.target.clone();
        let exists = host.memo(&format!("bucket/{bucket}"), || host.bucket_exists(TARGET, &bucket))?;
        if !exists && !params.create_buckets {
            return Err(Error::Missing(format!(
                "bucket `{bucket}` isn't at the target; make it there, or let the step do so by \
                 `\"create_buckets\": true`"
            )));
        }
        let cors = rules_of(host, params, mapping)?;
        let cors_lack = (!cors.is_empty()).then(|| lacks_cors(endpoint)).flatten();
        let cors_due = match (cors.is_empty() || cors_lack.is_some(), exists) {
            (true, _) => false,
            (false, false) => true,
            (false, true) => host.memo(&format!("cors/{bucket}"), || {
                Ok(!verify::has_rules(host.bucket_cors(TARGET, &bucket)?.as_deref(), &cors))
            })?,
        };
        let settings = params
            .settings
            .iter()
            .map(|(name, wanted)| {
                let memo = format!("setting/{bucket}/{}", name.name());
                host.memo(&memo, || setting_due(host, mapping, exists, endpoint, *name, wanted))
            })
            .collect::<Result<_>>()?;
        Ok(Self { bucket, exists, cors, cors_due, cors_lack, settings })
    }

    /// What was asked for and the target can't have: its name, and why.
    pub fn lacking(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let settings = self.settings.iter().filter_map(|due| Some((due.name.name(), due.lacks.as_ref()?)));
        self.cors_lack.iter().map(|why| (CORS, why)).chain(settings)
    }

    pub fn create_key(&self) -> String {
        format!("bucket {}", self.bucket)
    }

    pub fn probe_key(&self) -> String {
        format!("probe {}", self.bucket)
    }

    /// Keys of the effects that have to be done before objects arrive.
    pub fn before_objects(&self) -> Vec<String> {
        let create = (!self.exists).then(|| self.create_key());
        let settings = self.settings.iter().filter(|due| due.document.is_some());
        create.into_iter().chain(settings.map(|due| self.setting_key(due.name))).collect()
    }

    fn setting_key(&self, name: BucketSetting) -> String {
        format!("{} {}", name.name(), self.bucket)
    }

    /// `probe`: whether objects are going to arrive, and so how the bucket takes them is of interest.
    pub fn effects<H: Host>(&self, host: &H, probe: Option<&str>) -> Result<Vec<H::Effect>> {
        let mut effects = Vec::new();
        let create = (!self.exists).then(|| self.create_key());
        let after = |effect: H::Effect| match &create {
            Some(key) => effect.after([key]),
            None => effect,
        };
        if let Some(key) = &create {
            effects.push(host.create_bucket(TARGET, key, &self.bucket)?);
        }
        if self.cors_due {
            let key = format!("cors {}", self.bucket);
            effects.push(after(host.set_cors(TARGET, &key, &self.bucket, &self.cors)?));
        }
        for due in &self.settings {
            if let Some(document) = &due.document {
                let key = self.setting_key(due.name);
                let effect = host.set_bucket_setting(TARGET, &key, &self.bucket, due.name, Some(document))?;
                effects.push(after(effect));
            }
        }
        if let Some(prefix) = probe {
            effects.push(after(host.probe_bucket(TARGET, &self.probe_key(), &self.bucket, prefix)?));
        }
        Ok(effects)
    }
}

/// The CORS rules that a mapping's target is to have.
pub fn rules_of<H: Host>(host: &H, params: &Params, mapping: &Mapping) -> Result<Vec<CorsRule>> {
    let given: Vec<CorsRule> = params.cors_of(mapping).iter().map(Rule::to_cors).collect();
    if !given.is_empty() || !params.carry_cors {
        return Ok(given);
    }
    let found =
        host.memo(&format!("rules/{}", mapping.source), || host.bucket_cors(SOURCE, &mapping.source))?;
    let Some(found) = found else { return Ok(Vec::new()) };
    let rules: Vec<Rule> = serde_json::from_str(&found).map_err(|e| {
        Error::Failed(format!("the CORS rules of bucket `{}` can't be read: {e}", mapping.source))
    })?;
    Ok(rules.iter().map(Rule::to_cors).collect())
}

fn setting_due<H: Host>(
    host: &H,
    mapping: &Mapping,
    exists: bool,
    endpoint: &Endpoint,
    name: BucketSetting,
    wanted: &str,
) -> Result<SettingDue> {
    let due = |document: Option<String>, lacks: Option<String>| Ok(SettingDue { name, document, lacks });
    let document = match wanted {
        FROM_SOURCE => match host.bucket_setting(SOURCE, &mapping.source, name)? {
            Setting::Document(document) => document,
            // Nothing to carry over.
            Setting::Absent | Setting::Unsupported(_) => return due(None, None),
        },
        document => document.to_owned(),
    };
    let known = match name {
        BucketSetting::Versioning => endpoint.versions,
        BucketSetting::Tagging => endpoint.tags,
        _ => true,
    };
    if !known {
        return due(None, Some(format!("{} stores have no {} of buckets", endpoint.vendor, name.name())));
    }
    match host.bucket_setting(TARGET, &mapping.target, name) {
        // What no bucket of the vendor takes is known without asking one.
        Ok(Setting::Unsupported(why)) => due(None, Some(why)),
        _ if !exists => due(Some(document), None),
        Ok(Setting::Document(found)) if found.trim() == document.trim() => due(None, None),
        Ok(Setting::Document(_) | Setting::Absent) => due(Some(document), None),
        Err(error) => Err(error),
    }
}
