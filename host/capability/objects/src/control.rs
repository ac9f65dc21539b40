//! The control plane of a connection, by the SDK: buckets, CORS, multipart bookkeeping, copies on the
//! store's side, presigned URLs.

use std::collections::HashMap;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, ChecksumType, CompletedMultipartUpload, CompletedPart,
    CorsConfiguration, CorsRule as SdkCorsRule, CreateBucketConfiguration, StorageClass, TaggingDirective,
};
use bytes::Bytes;
use godwit_model::effect::CorsRule;
use godwit_model::{Error, ErrorKind, Result};
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::endpoint::{Addressing, Endpoint, encode};
use crate::fault;
use crate::http::{Http, Patience, Reply, Turn};
use crate::store::{Call, Store, bare, patiently, whole};

/// Which buckets keep versions, once asked.
pub(crate) type Versioning = Mutex<HashMap<String, bool>>;

pub(crate) fn sdk(endpoint: &Endpoint, http: &Http, patience: Patience) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(endpoint.region.clone()))
        .endpoint_url(endpoint.url())
        .force_path_style(endpoint.addressing == Addressing::Path)
        .http_client(http.for_sdk())
        // Checksums that the operation doesn't require have broken uploads to stores other than AWS.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // `patiently` tries again: one bound for all requests, and one wording of what may pass.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(patience.silence));
    let config = match endpoint.anonymous {
        true => config.allow_no_auth(),
        false => config.credentials_provider(Credentials::new(
            &endpoint.access_key,
            endpoint.secret_key.expose(),
            endpoint.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "godwit",
        )),
    };
    aws_sdk_s3::Client::from_conf(config.build())
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(attempt).build()
}

/// A bucket as HEAD finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BucketState {
    Absent,
    Usable,
    /// It exists, and the credentials may not look at it.
    Forbidden,
}

/// A multipart upload that is still open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenUpload {
    pub id: String,
    /// Seconds since the Unix epoch, by the store's clock.
    pub initiated: i64,
}

/// A CORS rule with the name it may have at the store: what undo puts back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedCorsRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(flatten)]
    pub rule: CorsRule,
}

impl Store {
    /// For what moves data on the store's side.
    fn long(&self) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::Config::builder().timeout_config(timeouts(self.http.patience.long_work))
    }

    pub async fn bucket(&self, bucket: &str) -> Result<BucketState> {
        patiently(|_| async {
            match self.ask(Call::new(Method::HEAD, bucket, None)).await {
                Ok(_) => Ok(BucketState::Usable),
                Err(error) if error.kind == ErrorKind::Missing => Ok(BucketState::Absent),
                Err(error) if error.code.as_deref() == Some("HTTP 403") => Ok(BucketState::Forbidden),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Once: after a lost answer, only a look tells whose bucket it is.
    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        let region = &self.endpoint.region;
        let constraint = (self.endpoint.vendor.location_constraint && region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        self.sdk
            .create_bucket()
            .bucket(bucket)
            .set_create_bucket_configuration(constraint)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| fault::of_sdk(&self.endpoint, &format!("creation of bucket {bucket}"), error))
            .map_err(|error| match error.kind {
                ErrorKind::Failed => error.hint(self.endpoint.vendor.bucket_hint),
                _ => error,
            })
    }

    pub async fn delete_bucket(&self, bucket: &str) -> Result<()> {
        patiently(|_| async {
            let answer = self.sdk.delete_bucket().bucket(bucket).send().await;
            let doing = format!("deletion of bucket {bucket}");
            answer.map(|_| ()).map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
        })
        .await
    }

    /// The bucket's CORS rules; `None` when it has none.
    pub async fn cors(&self, bucket: &str) -> Result<Option<Vec<NamedCorsRule>>> {
        let doing = format!("CORS rules of bucket {bucket}");
        let answer = patiently(|_| async {
            let answer = self.sdk.get_bucket_cors().bucket(bucket).send().await;
            answer.map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
        });
        match answer.await {
            Ok(answer) => {
                let rules: Vec<_> = answer.cors_rules().iter().map(from_sdk).collect();
                Ok((!rules.is_empty()).then_some(rules))
            }
            Err(error) if error.code.as_deref() == Some("NoSuchCORSConfiguration") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets all CORS rules of a bucket; none deletes them.
    pub async fn set_cors(&self, bucket: &str, rules: &[NamedCorsRule]) -> Result<()> {
        let doing = format!("setting the CORS rules of bucket {bucket}");
        let bad = |e: &dyn std::fmt::Display| Error::invalid(format!("{doing}: {e}"));
        let configuration = match rules.is_empty() {
            true => None,
            false => {
                let rules: Vec<SdkCorsRule> =
                    rules.iter().map(to_sdk).collect::<Result<_, _>>().map_err(|e| bad(&e))?;
                let made = CorsConfiguration::builder().set_cors_rules(Some(rules)).build();
                Some(made.map_err(|e| bad(&e))?)
            }
        };
        patiently(|_| async {
            let Some(configuration) = configuration.clone() else {
                let answer = self.sdk.delete_bucket_cors().bucket(bucket).send().await;
                return answer.map(|_| ()).map_err(|error| fault::of_sdk(&self.endpoint, &doing, error));
            };
            let put = self.sdk.put_bucket_cors().bucket(bucket).cors_configuration(configuration);
            put.send().await.map(|_| ()).map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
        })
        .await
    }

    /// Whether overwritten and deleted objects of the bucket stay as versions. Asked once.
    pub async fn keeps_versions(&self, bucket: &str) -> Result<bool> {
        if !self.endpoint.vendor.versions {
            return Ok(false);
        }
        let mut known = self.versioning.lock().await;
        if let Some(keeps) = known.get(bucket) {
            return Ok(*keeps);
        }
        let doing = format!("versioning of bucket {bucket}");
        let answer = patiently(|_| async {
            let answer = self.sdk.get_bucket_versioning().bucket(bucket).send().await;
            answer.map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
        });
        let keeps = match answer.await {
            Ok(answer) => answer.status() == Some(&BucketVersioningStatus::Enabled),
            Err(error) if error.is_retryable() => return Err(error),
            // A store that doesn't know the question, or won't answer it, is taken to keep nothing.
            Err(_) => false,
        };
        known.insert(bucket.to_owned(), keeps);
        Ok(keeps)
    }

    /// The parts that an upload holds: number → (ETag, size). `missing` when there is no such upload.
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<HashMap<i32, (String, u64)>> {
        let doing = format!("listing of the uploaded parts of {bucket}/{key}");
        let mut parts = HashMap::new();
        let mut marker: Option<String> = None;
        loop {
            let answer = patiently(|_| async {
                let ask = self.sdk.list_parts().bucket(bucket).key(key).upload_id(upload);
                let answer = ask.set_part_number_marker(marker.clone()).send().await;
                answer.map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
            })
            .await?;
            for part in answer.parts() {
                let size = part.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                let etag = bare(part.e_tag().unwrap_or_default());
                parts.insert(part.part_number().unwrap_or(0), (etag, size));
            }
            match answer.next_part_number_marker() {
                Some(next) if answer.is_truncated() == Some(true) => marker = Some(next.to_owned()),
                _ => return Ok(parts),
            }
        }
    }

    /// Joins the parts (number, ETag) of an upload, once, since a second attempt after a lost answer would find no upload;
    /// `crc` is the CRC-64/NVME that the object has to have. Returns the version it made, where the bucket keeps versions.
    pub async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        parts: &[(i32, String)],
        crc: Option<&str>,
        if_none: bool,
    ) -> Result<Option<String>> {
        let parts = parts
            .iter()
            .map(|(number, etag)| {
                CompletedPart::builder().part_number(*number).e_tag(format!("\"{etag}\"")).build()
            })
            .collect();
        self.sdk
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(upload)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_checksum_crc64_nvme(crc.map(str::to_owned))
            .set_checksum_type(crc.map(|_| ChecksumType::FullObject))
            .set_if_none_match(if_none.then(|| "*".to_owned()))
            .customize()
            .config_override(self.long())
            .send()
            .await
            .map(|answer| answer.version_id().map(str::to_owned))
            .map_err(|error| {
                fault::of_sdk(&self.endpoint, &format!("joining of the parts of {bucket}/{key}"), error)
            })
    }

    /// Gives up an upload; one that isn't there is given up already.
    pub async fn abort_upload(&self, bucket: &str, key: &str, upload: &str) -> Result<()> {
        let doing = format!("giving up an upload of {bucket}/{key}");
        let answer = patiently(|_| async {
            let ask = self.sdk.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload);
            ask.send().await.map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
        });
        match answer.await {
            Err(error) if error.kind == ErrorKind::Missing => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Open multipart uploads of exactly this key. A store that can't list them has none to tell of.
    pub async fn open_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let doing = format!("listing of the open uploads of {bucket}/{key}");
        let mut markers: (Option<String>, Option<String>) = (None, None);
        loop {
            let answer = patiently(|_| async {
                let ask = self.sdk.list_multipart_uploads().bucket(bucket).prefix(key);
                let ask = ask.set_key_marker(markers.0.clone()).set_upload_id_marker(markers.1.clone());
                ask.send().await.map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))
            })
            .await;
            let answer = match answer {
                Err(error) if error.kind == ErrorKind::Missing || fault::is_not_implemented(&error) => {
                    return Ok(found);
                }
                other => other?,
            };
            for upload in answer.uploads() {
                if upload.key() == Some(key)
                    && let Some(id) = upload.upload_id()
                {
                    let initiated = upload.initiated().map_or(0, |date| date.secs());
                    found.push(OpenUpload { id: id.to_owned(), initiated });
                }
            }
            if answer.is_truncated() != Some(true) || answer.next_key_marker().is_none() {
                return Ok(found);
            }
            markers = (
                answer.next_key_marker().map(str::to_owned),
                answer.next_upload_id_marker().filter(|id| !id.is_empty()).map(str::to_owned),
            );
        }
    }

    /// Copies an object within the store, once, with headers and metadata, and tags where the store has them; `tags` false
    /// leaves those behind. Returns ETag and version.
    pub async fn copy_within(
        &self,
        source: (&str, &str),
        etag: &str,
        sink: (&str, &str),
        class: Option<&str>,
        tags: bool,
    ) -> Result<(String, Option<String>)> {
        let without_tags = !tags && self.endpoint.vendor.tags;
        let answer = self
            .sdk
            .copy_object()
            .bucket(sink.0)
            .key(sink.1)
            .copy_source(place_of(source))
            .copy_source_if_match(format!("\"{etag}\""))
            .set_storage_class(class.map(StorageClass::from))
            .set_tagging_directive(without_tags.then_some(TaggingDirective::Replace))
            .customize()
            .config_override(self.long())
            .send()
            .await
            .map_err(|error| fault::of_sdk(&self.endpoint, &copying(source, sink), error))?;
        let etag =
            answer.copy_object_result().and_then(|result| result.e_tag()).map(bare).unwrap_or_default();
        Ok((etag, answer.version_id().map(str::to_owned)))
    }

    /// Copies a range of an object into a part of an upload, once, within the store. Returns the part's ETag.
    pub async fn copy_part_within(
        &self,
        source: (&str, &str),
        etag: &str,
        range: (u64, u64),
        sink: (&str, &str),
        upload: &str,
        number: i32,
    ) -> Result<String> {
        let answer = self
            .sdk
            .upload_part_copy()
            .bucket(sink.0)
            .key(sink.1)
            .upload_id(upload)
            .part_number(number)
            .copy_source(place_of(source))
            .copy_source_range(format!("bytes={}-{}", range.0, range.1))
            .copy_source_if_match(format!("\"{etag}\""))
            .customize()
            .config_override(self.long())
            .send()
            .await
            .map_err(|error| fault::of_sdk(&self.endpoint, &copying(source, sink), error))?;
        Ok(answer.copy_part_result().and_then(|result| result.e_tag()).map(bare).unwrap_or_default())
    }

    /// GETs an object by a presigned URL, once, without any credentials beside it.
    pub async fn presigned_get(&self, bucket: &str, key: &str) -> Result<Reply> {
        let doing = format!("presigned GET {bucket}/{key}");
        let presigned = self
            .sdk
            .get_object()
            .bucket(bucket)
            .key(key)
            .presigned(self.validity(&doing)?)
            .await
            .map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))?;
        self.send_presigned(&doing, Method::GET, &presigned, Bytes::new()).await
    }

    /// The status of a GET by a presigned URL, and at most `most` bytes of its body.
    pub async fn presigned_bytes(&self, bucket: &str, key: &str, most: usize) -> Result<(u16, Bytes)> {
        let doing = format!("presigned GET {bucket}/{key}");
        patiently(|_| async {
            let mut reply = self.presigned_get(bucket, key).await?;
            self.admit_presigned(&doing, &reply)?;
            let mut body = Vec::new();
            while let Some(chunk) = reply.chunk(&self.endpoint, &doing).await? {
                body.extend_from_slice(&chunk);
                if body.len() > most {
                    break;
                }
            }
            Ok((reply.status, Bytes::from(body)))
        })
        .await
    }

    /// The status of a PUT by a presigned URL.
    pub async fn presigned_put(&self, bucket: &str, key: &str, content: Bytes) -> Result<u16> {
        let doing = format!("presigned PUT {bucket}/{key}");
        patiently(|_| async {
            let presigned = self
                .sdk
                .put_object()
                .bucket(bucket)
                .key(key)
                .presigned(self.validity(&doing)?)
                .await
                .map_err(|error| fault::of_sdk(&self.endpoint, &doing, error))?;
            let mut reply = self.send_presigned(&doing, Method::PUT, &presigned, content.clone()).await?;
            self.admit_presigned(&doing, &reply)?;
            let _ = reply.text(&self.endpoint, &doing, 16 << 10).await;
            Ok(reply.status)
        })
        .await
    }

    /// Any answer is one, but those that ask to wait.
    fn admit_presigned(&self, doing: &str, reply: &Reply) -> Result<()> {
        match reply.status {
            429 | 500 | 502 | 503 | 504 => {
                Err(fault::of_answer(&self.endpoint, doing, reply.status, None, None))
            }
            _ => Ok(()),
        }
    }

    fn validity(&self, doing: &str) -> Result<PresigningConfig> {
        if self.endpoint.anonymous {
            return Err(Error::invalid(format!(
                "connection `{}`: {doing}: an anonymous connection has no key to sign with",
                self.endpoint.name
            )));
        }
        PresigningConfig::expires_in(Duration::from_secs(600))
            .map_err(|e| Error::failed(format!("connection `{}`: {doing}: {e}", self.endpoint.name)))
    }

    async fn send_presigned(
        &self,
        doing: &str,
        method: Method,
        presigned: &PresignedRequest,
        content: Bytes,
    ) -> Result<Reply> {
        let len = content.len() as u64;
        let mut request = http::Request::new(whole(content));
        *request.method_mut() = method;
        *request.uri_mut() = presigned.uri().parse().map_err(|_| {
            Error::failed(format!(
                "connection `{}`: {doing}: the key makes no valid address",
                self.endpoint.name
            ))
        })?;
        for (name, value) in presigned.headers() {
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_str(value))
            {
                request.headers_mut().insert(name, value);
            }
        }
        self.http.send(&self.endpoint, doing, request, len, Turn::Waits).await
    }
}

fn place_of(source: (&str, &str)) -> String {
    format!("{}/{}", encode(source.0, false), encode(source.1, true))
}

fn copying(source: (&str, &str), sink: (&str, &str)) -> String {
    format!("copy of {}/{} to {}/{} within the store", source.0, source.1, sink.0, sink.1)
}

fn from_sdk(rule: &SdkCorsRule) -> NamedCorsRule {
    NamedCorsRule {
        id: rule.id().map(str::to_owned),
        rule: CorsRule {
            allowed_origins: rule.allowed_origins().to_vec(),
            allowed_methods: rule.allowed_methods().to_vec(),
            allowed_headers: rule.allowed_headers().to_vec(),
            expose_headers: rule.expose_headers().to_vec(),
            max_age: rule.max_age_seconds().and_then(|age| u32::try_from(age).ok()),
        },
    }
}

fn to_sdk(named: &NamedCorsRule) -> Result<SdkCorsRule, aws_sdk_s3::error::BuildError> {
    let rule = &named.rule;
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    SdkCorsRule::builder()
        .set_id(named.id.clone())
        .set_allowed_origins(Some(rule.allowed_origins.clone()))
        .set_allowed_methods(Some(rule.allowed_methods.clone()))
        .set_allowed_headers(some(&rule.allowed_headers))
        .set_expose_headers(some(&rule.expose_headers))
        .set_max_age_seconds(rule.max_age.and_then(|age| i32::try_from(age).ok()))
        .build()
}
