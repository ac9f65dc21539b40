//! What a guest may ask for: each function of the WIT's imports, translated to the step's host.

use godwit_model::capability::{Bucketed, Cursor, Listing, PreflightAsk, VersionListing};
use godwit_model::effect::{
    Action, Content, CopyObject, CopySequences, CopyTable, CopyVersions, CreateBucket, CreateDatabase,
    DeleteFile, DeleteObject, DumpTable, ExecuteSql, LoadTable, ProbeBucket, PutObject, SealArchive,
    SetBucketSetting, SetCors, Table, WriteFile,
};
use godwit_model::plugin::Question;
use godwit_model::{EffectKey, Error, Fault, Json};
use wasmtime::component::Resource;

use super::convert;
use super::wit::{archive, context, effects, files, objects, postgres, types};
use crate::failure::{Broke, Trouble, trap};
use crate::guest::{Guest, Pending};

/// Rows of a query that a guest reads page by page.
pub struct Rows(Box<dyn Cursor>);

/// Objects of a listing that a guest reads page by page.
pub struct Objects(Box<dyn Listing>);

/// Versions of a listing that a guest reads page by page.
pub struct Versions(Box<dyn VersionListing>);

type Outcome<T> = Result<T, Trouble>;

impl Guest {
    /// One result of several, as the guest is told it.
    fn reply<T>(&mut self, result: Result<T, Error>) -> Result<T, types::Error> {
        result.map_err(|error| convert::error(error, |error| self.told.tell(error)))
    }
}

impl types::Host for Guest {
    fn convert_error(&mut self, trouble: Trouble) -> wasmtime::Result<types::Error> {
        match trouble {
            Trouble::Guest(error) => Ok(convert::error(error, |error| self.told.tell(error))),
            Trouble::Trap(error) => Err(error),
        }
    }
}

impl context::Host for Guest {
    async fn mode(&mut self) -> wasmtime::Result<context::CallMode> {
        let (_call, host) = self.enter()?;
        Ok(convert::mode(host.mode()))
    }

    async fn log(&mut self, level: context::Level, message: String) -> wasmtime::Result<()> {
        let (_call, host) = self.enter()?;
        self.bound(message.len(), || "a log message".to_owned())?;
        self.log_budget.take(message.len())?;
        host.log(convert::level(level), &message).await.map_err(trap)
    }

    async fn progress(
        &mut self,
        label: String,
        done: u64,
        total: Option<u64>,
        unit: String,
    ) -> wasmtime::Result<()> {
        let (_call, host) = self.enter()?;
        self.bound(label.len() + unit.len(), || "a progress label".to_owned())?;
        host.progress(&label, done, total, &unit);
        Ok(())
    }

    async fn memo(&mut self, key: String, value: Option<String>) -> wasmtime::Result<Option<String>> {
        let (_call, host) = self.enter()?;
        let value = match value {
            None => None,
            Some(text) => {
                self.ask()?;
                self.bound(key.len() + text.len(), || format!("the memo `{key}`"))?;
                let value: Json = serde_json::from_str(&text)
                    .map_err(|e| Broke(format!("the value of its memo `{key}` is no JSON: {e}")))?;
                Some(value)
            }
        };
        let kept = host.memo(&key, value).await.map_err(trap)?;
        Ok(kept.map(|kept| kept.to_string()))
    }

    async fn granted(&mut self, slot: String) -> wasmtime::Result<Option<context::GrantedAccess>> {
        let (_call, host) = self.enter()?;
        Ok(host.grant(&slot).map(|grant| context::GrantedAccess {
            write: grant.access == godwit_model::plugin::Access::Write,
            identity: host.identity(&slot).unwrap_or_else(|| grant.connection.as_str().to_owned()),
            secrets: grant.secrets,
        }))
    }
}

impl effects::HostEffect for Guest {
    async fn after(&mut self, effect: Resource<Pending>, keys: Vec<String>) -> wasmtime::Result<()> {
        Guest::after(self, &effect, keys)
    }

    async fn drop(&mut self, effect: Resource<Pending>) -> wasmtime::Result<()> {
        self.abandon(effect)
    }
}

impl effects::Host for Guest {
    async fn submit(&mut self, batch: Vec<Resource<Pending>>) -> Outcome<()> {
        let (_call, host) = self.enter()?;
        let batch = batch.into_iter().map(|effect| self.take(effect)).collect::<Result<Vec<_>, _>>()?;
        Ok(host.submit(batch).await?)
    }

    async fn next(&mut self, max: u32) -> Outcome<Vec<effects::Outcome>> {
        let (_call, host) = self.enter()?;
        let outcomes = host.next(max).await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| effects::Outcome {
                key: outcome.key.as_str().to_owned(),
                result: self.reply(outcome.result.map(|result| result.to_string())),
            })
            .collect())
    }

    async fn evidence_of(&mut self, key: String) -> Outcome<Option<types::Evidence>> {
        let (_call, host) = self.enter()?;
        Ok(host.evidence(&EffectKey::new(key)).await?.map(convert::evidence))
    }

    async fn observe(
        &mut self,
        keys: Vec<String>,
    ) -> wasmtime::Result<Vec<Result<types::Evidence, types::Error>>> {
        let (_call, host) = self.enter()?;
        let keys: Vec<EffectKey> = keys.into_iter().map(EffectKey::new).collect();
        let found = host.observe(&keys).await.map_err(trap)?;
        Ok(found.into_iter().map(|one| self.reply(one.map(convert::evidence))).collect())
    }
}

impl files::Host for Guest {
    async fn read(&mut self, slot: String, path: String) -> Outcome<Vec<u8>> {
        let (_call, host) = self.enter()?;
        Ok(host.read_file(&slot, &path).await?)
    }

    async fn read_range(&mut self, slot: String, path: String, offset: u64, length: u32) -> Outcome<Vec<u8>> {
        let (_call, host) = self.enter()?;
        Ok(host.read_file_range(&slot, &path, offset, length).await?)
    }

    async fn stat(&mut self, slot: String, path: String) -> Outcome<Option<files::FileStat>> {
        let (_call, host) = self.enter()?;
        Ok(host.stat_file(&slot, &path).await?.map(convert::stat))
    }

    async fn list(&mut self, slot: String, path: String) -> Outcome<Vec<files::FileStat>> {
        let (_call, host) = self.enter()?;
        Ok(host.list_files(&slot, &path).await?.into_iter().map(convert::stat).collect())
    }

    async fn write(
        &mut self,
        slot: String,
        key: String,
        path: String,
        content: Vec<u8>,
    ) -> Outcome<Resource<Pending>> {
        let content = self.content(content);
        self.make(key, Action::WriteFile(WriteFile { slot: slot.into(), path, content }))
    }

    async fn delete(&mut self, slot: String, key: String, path: String) -> Outcome<Resource<Pending>> {
        self.make(key, Action::DeleteFile(DeleteFile { slot: slot.into(), path }))
    }
}

impl postgres::HostCursor for Guest {
    async fn next(&mut self, cursor: Resource<Rows>) -> Outcome<Vec<String>> {
        let _call = self.clock.host_call();
        Ok(self.table.get_mut(&cursor)?.0.next().await?)
    }

    async fn drop(&mut self, cursor: Resource<Rows>) -> wasmtime::Result<()> {
        self.close(cursor)
    }
}

impl postgres::Host for Guest {
    async fn query(
        &mut self,
        slot: String,
        sql: String,
        params: Vec<Option<String>>,
    ) -> Outcome<Resource<Rows>> {
        let (_call, host) = self.enter()?;
        let rows = host.query(&slot, &sql, &params).await?;
        self.open(Rows(rows))
    }

    async fn answers(
        &mut self,
        questions: Vec<postgres::Question>,
    ) -> wasmtime::Result<Vec<Result<Vec<String>, types::Error>>> {
        let (_call, host) = self.enter()?;
        let questions: Vec<Question> = questions.into_iter().map(convert::question).collect();
        let answers = host.answers(&questions).await.map_err(trap)?;
        Ok(answers.into_iter().map(|one| self.reply(one)).collect())
    }

    async fn execute(
        &mut self,
        slot: String,
        key: String,
        statements: Vec<String>,
        execution: postgres::Execution,
        undo: postgres::Undo,
        data_dependent: bool,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::ExecuteSql(ExecuteSql {
            slot: slot.into(),
            statements,
            execution: convert::execution(execution),
            undo: convert::undo(undo),
            data_dependent,
        });
        self.make(key, action)
    }

    async fn copy(
        &mut self,
        key: String,
        source: postgres::Table,
        sink: postgres::Table,
        options: postgres::CopyOptions,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::CopyTable(CopyTable {
            source: convert::table(source),
            sink: convert::table(sink),
            consistency: convert::consistency(options.consistency),
            only: options.only,
            filter: options.filter,
        });
        self.make(key, action)
    }

    async fn copy_sequences(
        &mut self,
        key: String,
        source_slot: String,
        sink_slot: String,
        sequences: Vec<postgres::Sequence>,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::CopySequences(CopySequences {
            source: source_slot.into(),
            sink: sink_slot.into(),
            sequences: sequences.into_iter().map(|sequence| (sequence.schema, sequence.name)).collect(),
        });
        self.make(key, action)
    }

    async fn create_database(
        &mut self,
        slot: String,
        key: String,
        options: postgres::DatabaseOptions,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::CreateDatabase(CreateDatabase {
            slot: slot.into(),
            owner: options.owner,
            encoding: options.encoding,
            locale: options.locale,
            locale_provider: options.locale_provider,
            template: options.template,
            connection_limit: options.connection_limit,
        });
        self.make(key, action)
    }
}

impl archive::Host for Guest {
    async fn dump(
        &mut self,
        key: String,
        source: postgres::Table,
        sink: archive::RowsFile,
        options: postgres::CopyOptions,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::DumpTable(DumpTable {
            source: convert::table(source),
            sink: convert::rows_file(sink),
            consistency: convert::consistency(options.consistency),
            only: options.only,
            filter: options.filter,
        });
        self.make(key, action)
    }

    async fn load(
        &mut self,
        key: String,
        source: archive::RowsFile,
        block: Option<archive::Block>,
        encoding: Option<String>,
        sink: postgres::Table,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::LoadTable(LoadTable {
            source: convert::rows_file(source),
            block: block.map(convert::block),
            more: Vec::new(),
            encoding,
            sink: convert::table(sink),
        });
        self.make(key, action)
    }

    async fn load_objects(
        &mut self,
        key: String,
        sources: Vec<archive::ObjectsFile>,
        sink: String,
    ) -> Outcome<Resource<Pending>> {
        let mut sources = sources
            .into_iter()
            .map(|source| (convert::rows_file(source.file), source.block.map(convert::block)));
        let Some((source, block)) = sources.next() else {
            return Err(Error::invalid("large objects are loaded from nothing").fault(Fault::Plugin).into());
        };
        let sink = Table {
            slot: sink.into(),
            schema: "pg_catalog".to_owned(),
            name: "pg_largeobject".to_owned(),
            columns: ["loid", "pageno", "data"].map(str::to_owned).to_vec(),
        };
        let action =
            Action::LoadTable(LoadTable { source, block, more: sources.collect(), encoding: None, sink });
        self.make(key, action)
    }

    async fn blocks(&mut self, slot: String, path: String, start: u64) -> Outcome<Vec<archive::Block>> {
        let (_call, host) = self.enter()?;
        let blocks = host.archive_blocks(&slot, &path, start).await?;
        Ok(blocks
            .into_iter()
            .map(|block| archive::Block { dump_id: block.dump_id, offset: block.offset })
            .collect())
    }

    async fn seal(
        &mut self,
        slot: String,
        key: String,
        path: String,
        pieces: Vec<archive::Piece>,
    ) -> Outcome<Resource<Pending>> {
        let pieces = pieces.into_iter().map(convert::piece).collect();
        self.make(key, Action::SealArchive(SealArchive { slot: slot.into(), path, pieces }))
    }
}

impl objects::HostListing for Guest {
    async fn next(&mut self, listing: Resource<Objects>) -> Outcome<Vec<objects::Object>> {
        let _call = self.clock.host_call();
        let page = self.table.get_mut(&listing)?.0.next().await?;
        Ok(page.into_iter().map(convert::object).collect())
    }

    async fn drop(&mut self, listing: Resource<Objects>) -> wasmtime::Result<()> {
        self.close(listing)
    }
}

impl objects::HostVersionListing for Guest {
    async fn next(&mut self, listing: Resource<Versions>) -> Outcome<Vec<objects::ObjectVersion>> {
        let _call = self.clock.host_call();
        let page = self.table.get_mut(&listing)?.0.next().await?;
        Ok(page.into_iter().map(convert::version).collect())
    }

    async fn drop(&mut self, listing: Resource<Versions>) -> wasmtime::Result<()> {
        self.close(listing)
    }
}

impl objects::Host for Guest {
    async fn describe_endpoint(&mut self, slot: String) -> Outcome<objects::Endpoint> {
        let (_call, host) = self.enter()?;
        Ok(convert::endpoint(host.describe_endpoint(&slot)?))
    }

    async fn list(
        &mut self,
        slot: String,
        bucket: String,
        prefix: String,
        after: Option<String>,
    ) -> Outcome<Resource<Objects>> {
        let (_call, host) = self.enter()?;
        let listing = host.list_objects(&slot, &bucket, &prefix, after.as_deref()).await?;
        self.open(Objects(listing))
    }

    async fn versions(
        &mut self,
        slot: String,
        bucket: String,
        prefix: String,
    ) -> Outcome<Resource<Versions>> {
        let (_call, host) = self.enter()?;
        let listing = host.list_versions(&slot, &bucket, &prefix).await?;
        self.open(Versions(listing))
    }

    async fn stat(
        &mut self,
        slot: String,
        bucket: String,
        keys: Vec<String>,
    ) -> wasmtime::Result<Vec<Result<Option<objects::Object>, types::Error>>> {
        let (_call, host) = self.enter()?;
        let found = host.stat_objects(&slot, &bucket, &keys).await.map_err(trap)?;
        Ok(found.into_iter().map(|one| self.reply(one.map(|found| found.map(convert::object)))).collect())
    }

    async fn compare(
        &mut self,
        pairs: Vec<(objects::Location, objects::Location)>,
        deep: bool,
    ) -> wasmtime::Result<Vec<Result<objects::Comparison, types::Error>>> {
        let (_call, host) = self.enter()?;
        let place = |at: objects::Location| (at.slot, Bucketed { bucket: at.bucket, key: at.key });
        let pairs: Vec<_> = pairs.into_iter().map(|(left, right)| (place(left), place(right))).collect();
        let found = host.compare_objects(&pairs, deep).await.map_err(trap)?;
        Ok(found.into_iter().map(|one| self.reply(one.map(convert::comparison))).collect())
    }

    async fn setting(
        &mut self,
        slot: String,
        bucket: String,
        name: objects::BucketSetting,
    ) -> Outcome<objects::SettingState> {
        let (_call, host) = self.enter()?;
        let name = convert::setting_name(name);
        Ok(convert::setting(host.bucket_setting(&slot, &bucket, name).await?))
    }

    async fn cors_preflight(
        &mut self,
        slot: String,
        bucket: String,
        key: String,
        origin: String,
        method: String,
        headers: Vec<String>,
    ) -> Outcome<objects::Preflight> {
        let (_call, host) = self.enter()?;
        let ask = PreflightAsk { origin, method, headers };
        let answer = host.cors_preflight(&slot, &Bucketed { bucket, key }, &ask).await?;
        Ok(objects::Preflight { status: answer.status, headers: answer.headers })
    }

    async fn head(
        &mut self,
        slot: String,
        bucket: String,
        key: String,
    ) -> Outcome<Option<objects::ObjectHead>> {
        let (_call, host) = self.enter()?;
        Ok(host.head_object(&slot, &Bucketed { bucket, key }).await?.map(convert::head))
    }

    async fn bucket_exists(&mut self, slot: String, bucket: String) -> Outcome<bool> {
        let (_call, host) = self.enter()?;
        Ok(host.bucket_exists(&slot, &bucket).await?)
    }

    async fn cors(&mut self, slot: String, bucket: String) -> Outcome<Option<String>> {
        let (_call, host) = self.enter()?;
        Ok(host.bucket_cors(&slot, &bucket).await?.map(|rules| rules.to_string()))
    }

    async fn presigned_get(
        &mut self,
        slot: String,
        bucket: String,
        key: String,
    ) -> Outcome<objects::Presigned> {
        let (_call, host) = self.enter()?;
        Ok(convert::presigned(host.presigned_get(&slot, &Bucketed { bucket, key }).await?))
    }

    async fn copy(
        &mut self,
        key: String,
        source: objects::Location,
        sink: objects::Location,
        size: u64,
        etag: String,
        options: objects::CopyOptions,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::CopyObject(CopyObject {
            source: convert::location(source),
            sink: convert::location(sink),
            size,
            etag,
            replaces: convert::replaces(options.replaces),
            storage_class: options.storage_class,
            tags: options.tags,
        });
        self.make(key, action)
    }

    async fn copy_versions(
        &mut self,
        key: String,
        source: objects::Location,
        sink: objects::Location,
        versions: Vec<objects::VersionCopy>,
        tags: bool,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::CopyVersions(CopyVersions {
            source: convert::location(source),
            sink: convert::location(sink),
            versions: versions.into_iter().map(convert::version_copy).collect(),
            tags,
        });
        self.make(key, action)
    }

    async fn put(
        &mut self,
        key: String,
        sink: objects::Location,
        content: Vec<u8>,
        content_type: Option<String>,
        replaces: objects::Replaces,
    ) -> Outcome<Resource<Pending>> {
        let action = Action::PutObject(PutObject {
            sink: convert::location(sink),
            content: self.content(content),
            content_type,
            replaces: convert::replaces(replaces),
        });
        self.make(key, action)
    }

    async fn delete(
        &mut self,
        key: String,
        sink: objects::Location,
        etag: String,
    ) -> Outcome<Resource<Pending>> {
        self.make(key, Action::DeleteObject(DeleteObject { sink: convert::location(sink), etag }))
    }

    async fn create_bucket(
        &mut self,
        slot: String,
        key: String,
        bucket: String,
    ) -> Outcome<Resource<Pending>> {
        self.make(key, Action::CreateBucket(CreateBucket { slot: slot.into(), bucket }))
    }

    async fn set_cors(
        &mut self,
        slot: String,
        key: String,
        bucket: String,
        rules: Vec<objects::CorsRule>,
    ) -> Outcome<Resource<Pending>> {
        let rules = rules.into_iter().map(convert::cors_rule).collect();
        self.make(key, Action::SetCors(SetCors { slot: slot.into(), bucket, rules }))
    }

    async fn set_setting(
        &mut self,
        slot: String,
        key: String,
        bucket: String,
        name: objects::BucketSetting,
        document: Option<String>,
    ) -> Outcome<Resource<Pending>> {
        let name = convert::setting_name(name);
        let action = Action::SetBucketSetting(SetBucketSetting { slot: slot.into(), bucket, name, document });
        self.make(key, action)
    }

    async fn probe(
        &mut self,
        slot: String,
        key: String,
        bucket: String,
        prefix: String,
    ) -> Outcome<Resource<Pending>> {
        self.make(key, Action::ProbeBucket(ProbeBucket { slot: slot.into(), bucket, prefix }))
    }
}

impl Guest {
    /// Digests the content of an effect on the host's time.
    fn content(&self, bytes: Vec<u8>) -> Content {
        let _call = self.clock.host_call();
        Content::new(bytes)
    }
}
