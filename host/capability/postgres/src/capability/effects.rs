//! Which effect goes where.

use godwit_model::capability::{Ledger, StepScope};
use godwit_model::effect::{Action, Done, Effect, Preparation};
use godwit_model::{Error, Json, Result};

use super::Postgres;
use crate::snapshot::Succession;
use crate::{copy, database, execute, sequences};

impl Postgres {
    pub(super) async fn prepare_effect(&self, scope: &StepScope, effect: &Effect) -> Result<Preparation> {
        match &effect.action {
            Action::ExecuteSql(request) => execute::prepare(scope, request),
            Action::CopyTable(request) => {
                let step = self.step(scope);
                let ends = self.ends(scope, &step, request).await?;
                copy::prepare(scope, request, &ends.table)
            }
            Action::CopySequences(request) => Ok(sequences::prepare(scope, request)),
            Action::DumpTable(request) => {
                let (source, leader, table) = self.source(scope, &self.step(scope), &request.source).await?;
                self.dump(scope, effect, request, &source, &leader, &table)?.prepare().await
            }
            Action::LoadTable(request) => {
                let sink = self.slot(scope, &request.sink.slot)?;
                self.load(scope, effect, request, &sink)?.prepare().await
            }
            Action::SealArchive(request) => self.seal(scope, effect, request)?.prepare().await,
            Action::CreateDatabase(request) => {
                database::prepare(
                    scope,
                    &self.own(scope, &request.slot)?,
                    scope.grant(&request.slot)?,
                    request,
                )
                .await
            }
            other => Err(not_ours(other)),
        }
    }

    pub(super) async fn perform_effect(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        ledger: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done> {
        let step = self.step(scope);
        match &effect.action {
            Action::ExecuteSql(request) => {
                let grant = scope.grant(&request.slot)?;
                let place = self.slot(scope, &request.slot)?;
                self.register(scope, &place, None).await?;
                execute::perform(scope, &place, grant, &effect.key, request, resumed).await
            }
            Action::CopyTable(request) => {
                let ends = self.ends(scope, &step, request).await?;
                self.refuse_overlap(&ends, request).await?;
                self.register(scope, &ends.sink, None).await?;
                let sink = self.sink_table(&step, &ends.sink, &request.sink).await?;
                copy::perform(scope, &effect.key, request, &ends, &sink, ledger).await
            }
            Action::CopySequences(request) => {
                let source = self.slot(scope, &request.source)?;
                let sink = self.slot(scope, &request.sink)?;
                self.register(scope, &sink, None).await?;
                let leader = step.leaders.get(scope, &source, Succession::Refuse).await?;
                sequences::perform(scope, &effect.key, request, &leader, &sink).await
            }
            Action::DumpTable(request) => {
                let (source, leader, table) = self.source(scope, &step, &request.source).await?;
                self.dump(scope, effect, request, &source, &leader, &table)?
                    .perform(preparation, ledger)
                    .await
            }
            Action::LoadTable(request) => {
                let sink = self.slot(scope, &request.sink.slot)?;
                self.register(scope, &sink, None).await?;
                let table = self.sink_table(&step, &sink, &request.sink).await?;
                self.load(scope, effect, request, &sink)?.perform(preparation, &table).await
            }
            Action::SealArchive(request) => {
                self.seal(scope, effect, request)?.perform(preparation, ledger).await
            }
            Action::CreateDatabase(request) => {
                let existed = preparation.before.get("existed") == Some(&Json::Bool(true));
                let own = self.own(scope, &request.slot)?;
                // Nobody may be in a template while it is copied (manual, CREATE DATABASE).
                if let Some(template) = &request.template {
                    self.leave(template).await;
                }
                database::perform(scope, &own, scope.grant(&request.slot)?, request, existed).await
            }
            other => Err(not_ours(other)),
        }
    }
}

fn not_ours(action: &Action) -> Error {
    Error::host(format!("{action:?} isn't an effect of the postgres capability"))
}
