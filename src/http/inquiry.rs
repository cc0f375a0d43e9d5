//! A request for a view: who asks, and with which parameters. Whoever is not known learns nothing
//! more, not even which parameters there are.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Sources;
use super::auth::Caller;
use super::problem::Problem;
use super::query::Query;
use super::readers::Turn;

/// The parameter that names the caller where nobody else does (contract 5, mode `none`).
const NAMED: &str = "userId";

/// Who asks, and how.
pub(super) struct Inquiry<T> {
    /// Who.
    pub(super) caller: Caller,
    /// The parameters as the view knows them.
    pub(super) wants: T,
    /// The whole query, for links.
    pub(super) query: Query,
    /// Held until the view is read.
    pub(super) turn: Turn,
}

impl<T: DeserializeOwned + Send> FromRequestParts<Sources> for Inquiry<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, sources: &Sources) -> Result<Self, Problem> {
        let callers = &sources.readers.callers;
        let text = parts.uri.query().unwrap_or_default();
        let (caller, query, wants) = if callers.takes_user_id() {
            let query = Query::parse(text)?;
            let mut others = query.clone();
            let named = others.take(NAMED)?;
            let caller = callers.caller(&parts.headers, named.as_deref()).await?;
            let wants = others.read()?;
            (caller, query, wants)
        } else {
            let caller = callers.caller(&parts.headers, None).await?;
            let query = Query::parse(text)?;
            let wants = query.read()?;
            (caller, query, wants)
        };
        // Only now: a caller who is not known takes no other's turn.
        let turn = sources.readers.turn().await?;
        Ok(Self {
            caller,
            wants,
            query,
            turn,
        })
    }
}
