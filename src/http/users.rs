//! What a user has used of the limits (contract 2, AC9; contract 5): for oneself, or for whoever may
//! read any.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::inquiry::Inquiry;
use super::problem::Problem;
use super::query::NoQuery;
use super::readers::read;
use super::shapes::LimitsView;
use super::{Refusals, Sources};
use crate::domain::UserId;

/// What a user has used
///
/// The limits are those of the free tier. For oneself, or with the scope `sessions:read:any`.
#[utoipa::path(
    get,
    path = "/users/{userId}/limits",
    tag = "users",
    operation_id = "getLimits",
    params((
        "userId" = String,
        Path,
        description = "The user's id: no control characters, not only white space",
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*[^\s\u0000-\u001F\u007F-\u009F][^\u0000-\u001F\u007F-\u009F]*$",
    )),
    responses(
        (status = 200, description = "What is used and what is allowed", body = LimitsView),
        (
            status = 403,
            description = "Somebody else's, and the token lacks the scope: code `forbidden`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn limits(
    State(sources): State<Sources>,
    path: Result<Path<String>, PathRejection>,
    inquiry: Inquiry<NoQuery>,
) -> Result<Json<LimitsView>, Problem> {
    let caller = inquiry.caller;
    let named = path.ok().map(|Path(text)| UserId::parse(&text));
    let named = named.and_then(Result::ok);
    if named.as_ref() != Some(&caller.user_id) && !caller.may_read_any() {
        return Err(Problem::forbidden(
            "these are somebody else's: this takes the scope sessions:read:any",
        ));
    }
    let user_id = named.ok_or_else(|| Problem::invalid("userId: must be a user's id"))?;
    let readers = &sources.readers;
    let usage = read(readers.views.usage(&user_id)).await?;
    Ok(Json(LimitsView::new(
        &usage,
        readers.concurrent_limit,
        readers.daily_limit,
    )))
}
