//! What a bucket is told besides its objects: CORS, lifecycle, tags, policy, encryption. Kept as it came, and acted on by
//! nobody but CORS: nothing expires here, and nothing is encrypted.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, failed};
use super::store::Settings;

impl Backend {
    fn setting<T>(&self, bucket: &str, read: impl FnOnce(&Settings) -> T) -> S3Result<T> {
        self.with_bucket(bucket, |held| read(&held.settings))
    }

    fn set(&self, bucket: &str, change: impl FnOnce(&mut Settings)) -> S3Result<()> {
        self.with_bucket(bucket, |_| ())?;
        self.store().set(bucket, change).map_err(failed)
    }

    pub fn bucket_cors(
        &self,
        req: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        let rules = self.setting(&req.input.bucket, |held| held.cors.clone())?;
        let rules = rules.ok_or_else(|| s3_error!(NoSuchCORSConfiguration))?;
        Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(rules) }))
    }

    pub fn set_bucket_cors(
        &self,
        req: S3Request<PutBucketCorsInput>,
    ) -> S3Result<S3Response<PutBucketCorsOutput>> {
        const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
        let rules = req.input.cors_configuration.cors_rules;
        if rules.is_empty()
            || rules.iter().flat_map(|rule| &rule.allowed_methods).any(|m| !METHODS.contains(&m.as_str()))
        {
            return Err(s3_error!(InvalidRequest, "a CORS rule with an unsupported method, or no rule"));
        }
        self.set(&req.input.bucket, |held| held.cors = Some(rules))?;
        Ok(S3Response::new(PutBucketCorsOutput::default()))
    }

    pub fn delete_cors(
        &self,
        req: S3Request<DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
        self.set(&req.input.bucket, |held| held.cors = None)?;
        Ok(S3Response::new(DeleteBucketCorsOutput::default()))
    }

    pub fn lifecycle(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let rules = self.setting(&req.input.bucket, |held| held.lifecycle.clone())?;
        let rules = Some(rules.ok_or_else(|| s3_error!(NoSuchLifecycleConfiguration))?);
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules,
            ..GetBucketLifecycleConfigurationOutput::default()
        }))
    }

    pub fn set_lifecycle(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let rules = req.input.lifecycle_configuration.map(|given| given.rules).unwrap_or_default();
        if rules.is_empty() {
            return Err(s3_error!(MalformedXML, "no rule"));
        }
        if self.rules.r2 && rules.iter().any(super::r2::moves_elsewhere) {
            return Err(s3_error!(NotImplemented, "transitions to this storage class"));
        }
        self.set(&req.input.bucket, |held| held.lifecycle = Some(rules))?;
        Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
    }

    pub fn delete_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        self.set(&req.input.bucket, |held| held.lifecycle = None)?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }

    pub fn bucket_tags(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let tags = self.setting(&req.input.bucket, |held| held.tags.clone())?;
        let tag_set = tags.ok_or_else(|| s3_error!(NoSuchTagSet))?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
    }

    pub fn set_bucket_tags(
        &self,
        req: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        self.set(&req.input.bucket, |held| held.tags = Some(req.input.tagging.tag_set))?;
        Ok(S3Response::new(PutBucketTaggingOutput::default()))
    }

    pub fn delete_bucket_tags(
        &self,
        req: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        self.set(&req.input.bucket, |held| held.tags = None)?;
        Ok(S3Response::new(DeleteBucketTaggingOutput::default()))
    }

    pub fn policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let policy = self.setting(&req.input.bucket, |held| held.policy.clone())?;
        let policy = Some(policy.ok_or_else(|| s3_error!(NoSuchBucketPolicy))?);
        Ok(S3Response::new(GetBucketPolicyOutput { policy }))
    }

    pub fn set_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        if serde_json::from_str::<serde_json::Value>(&req.input.policy).is_err() {
            return Err(s3_error!(MalformedPolicy, "it is not JSON"));
        }
        self.set(&req.input.bucket, |held| held.policy = Some(req.input.policy))?;
        Ok(S3Response::with_status(PutBucketPolicyOutput::default(), http::StatusCode::NO_CONTENT))
    }

    pub fn delete_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.set(&req.input.bucket, |held| held.policy = None)?;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }

    pub fn encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let held = self.setting(&req.input.bucket, |held| held.encryption.clone())?;
        let held = held.ok_or_else(|| s3_error!(ServerSideEncryptionConfigurationNotFoundError))?;
        let server_side_encryption_configuration = Some(held);
        Ok(S3Response::new(GetBucketEncryptionOutput { server_side_encryption_configuration }))
    }

    pub fn set_encryption(
        &self,
        req: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        let given = req.input.server_side_encryption_configuration;
        self.set(&req.input.bucket, |held| held.encryption = Some(given))?;
        Ok(S3Response::new(PutBucketEncryptionOutput::default()))
    }

    pub fn delete_encryption(
        &self,
        req: S3Request<DeleteBucketEncryptionInput>,
    ) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
        self.set(&req.input.bucket, |held| held.encryption = None)?;
        Ok(S3Response::new(DeleteBucketEncryptionOutput::default()))
    }
}
