//! The views of sessions (contract 5): a caller's history, open session, single sessions and who is
//! in them, and the list of public ones for whoever may read any. Reads only.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::cursor::Scope;
use super::inquiry::Inquiry;
use super::problem::Problem;
use super::query::{
    HistoryQuery, Instant, LanguageTag, ListQuery, NamedUser, NoQuery, Query, Seats, Status,
};
use super::readers::read;
use super::shapes::{
    CurrentView, HistoryLine, List, MemberView, Page, ParticipantView, SessionView,
};
use super::{Refusals, Sources};
use crate::domain::{SessionId, SessionStatus, Timestamp};
use crate::store::views::{HistoryFilter, HistoryPlace, ListFilter, ListPlace};

/// The path of a caller's history.
pub(super) const HISTORY: &str = "/sessions/history";
/// The path of the list of public sessions.
pub(super) const LIST: &str = "/sessions";

/// The caller's history
///
/// Every session the caller was ever in, newest first join first, then by session. A page stays what
/// it is while sessions are added. With the scope `sessions:read:any`, `userId` names another user.
#[utoipa::path(
    get,
    path = "/sessions/history",
    tag = "sessions",
    operation_id = "getHistory",
    params(HistoryQuery),
    responses(
        (
            status = 200,
            description = "A page of the history",
            body = Page<HistoryLine>,
            headers(("Link" = String, description = "The next page, rel=\"next\"; absent on the last one")),
        ),
        (
            status = 403,
            description = "Another user's, and the caller lacks the scope: code `forbidden`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn history(
    State(sources): State<Sources>,
    Inquiry {
        caller,
        wants,
        query,
        turn: _turn,
    }: Inquiry<HistoryQuery>,
) -> Result<Response, Problem> {
    let readers = &sources.readers;
    let HistoryQuery {
        limit,
        cursor,
        status,
        target_language_code,
        from,
        to,
        user_id,
    } = wants;
    let user_id = user_id.map_or_else(|| caller.user_id.clone(), |NamedUser(named)| named);
    if user_id != caller.user_id && !caller.may_read_any() {
        return Err(Problem::forbidden(
            "this is another user's: this takes the scope sessions:read:any",
        ));
    }
    let filter = HistoryFilter {
        status: status.map(SessionStatus::from),
        target_language_code: target_language_code.map(|LanguageTag(tag)| tag),
        from: from.map(|Instant(at)| at),
        to: to.map(|Instant(at)| at),
    };
    let millis = |at: Option<Timestamp>| at.map(|at| at.0.to_string());
    let filters = [
        status.map(word),
        filter.target_language_code.clone(),
        millis(filter.from),
        millis(filter.to),
        Some(user_id.to_string()),
    ];
    let scope = Scope {
        path: HISTORY,
        caller: caller.user_id.as_str(),
        filters: &filters,
    };
    let after = readers.place(cursor, &scope).await?;
    let after = after.map(|HistoryCursor(joined_at, session_id)| HistoryPlace {
        joined_at: Timestamp(joined_at),
        session_id: SessionId::from_stored(session_id),
    });
    let history =
        readers
            .views
            .history(&user_id, &filter, after, limit.unwrap_or_default().lines());
    let (page, now) = tokio::try_join!(read(history), read(readers.views.now()))?;
    let items = page.items.into_iter();
    let items = items.map(|entry| HistoryLine::at(entry, now)).collect();
    let next = page
        .next
        .map(|place| HistoryCursor(place.joined_at.0, place.session_id.to_string()));
    let next_cursor = readers.cursor(next, &scope).await?;
    Ok(paged(HISTORY, &query, Page { items, next_cursor }))
}

/// The caller's open session
///
/// Active before waiting, then the latest join; `alsoIn` names the others.
#[utoipa::path(
    get,
    path = "/sessions/current",
    tag = "sessions",
    operation_id = "getCurrentSession",
    responses(
        (status = 200, description = "The session", body = CurrentView),
        (
            status = 404,
            description = "The caller is in no session: code `no_current_session`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn current(
    State(sources): State<Sources>,
    inquiry: Inquiry<NoQuery>,
) -> Result<Json<CurrentView>, Problem> {
    let user_id = &inquiry.caller.user_id;
    let open = read(sources.readers.views.open_sessions(user_id)).await?;
    let mut open = open.into_iter();
    let first = open.next().ok_or_else(Problem::no_current_session)?;
    Ok(Json(CurrentView {
        session: first.into(),
        also_in: open.map(|other| other.session.id.to_string()).collect(),
    }))
}

/// A session
///
/// For whoever is in it or ever was; for anyone else it does not exist.
#[utoipa::path(
    get,
    path = "/sessions/{id}",
    tag = "sessions",
    operation_id = "getSession",
    params(("id" = String, Path, description = "The session's id", min_length = 1, max_length = 128)),
    responses(
        (status = 200, description = "The session", body = MemberView),
        (
            status = 404,
            description = "No such session among the caller's: code `session_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn session(
    State(sources): State<Sources>,
    path: Result<Path<String>, PathRejection>,
    inquiry: Inquiry<NoQuery>,
) -> Result<Json<MemberView>, Problem> {
    let id = named(path)?;
    let views = &sources.readers.views;
    let found = read(views.session(&id, &inquiry.caller.user_id)).await?;
    let participation = found.ok_or_else(Problem::session_not_found)?;
    Ok(Json(participation.into()))
}

/// Who is in a session, or was
///
/// In order of first join; for whoever is in it or ever was.
#[utoipa::path(
    get,
    path = "/sessions/{id}/participants",
    tag = "sessions",
    operation_id = "getParticipants",
    params(("id" = String, Path, description = "The session's id", min_length = 1, max_length = 128)),
    responses(
        (status = 200, description = "Everybody who was ever in", body = List<ParticipantView>),
        (
            status = 404,
            description = "No such session among the caller's: code `session_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn participants(
    State(sources): State<Sources>,
    path: Result<Path<String>, PathRejection>,
    inquiry: Inquiry<NoQuery>,
) -> Result<Json<List<ParticipantView>>, Problem> {
    let id = named(path)?;
    let views = &sources.readers.views;
    let members = views.members(&id, &inquiry.caller.user_id);
    let (members, now) = tokio::try_join!(read(members), read(views.now()))?;
    let members = members.ok_or_else(Problem::session_not_found)?;
    let items = members.into_iter();
    let items = items.map(|member| ParticipantView::at(member, now));
    Ok(Json(List {
        items: items.collect(),
    }))
}

/// Public sessions
///
/// Those that wait first, longest first; then the others by status, language and id. Matchmaking looks
/// for seats to fill. This takes the scope `sessions:read:any`: a token has it in `scope` or `scp`
/// (`http.auth.mode` `jwt`), a trusted gateway says so in `X-Scopes` (`trustedHeader`). In mode `none` no
/// caller has it, and this is always 403.
#[utoipa::path(
    get,
    path = "/sessions",
    tag = "sessions",
    operation_id = "listPublicSessions",
    params(ListQuery),
    responses(
        (
            status = 200,
            description = "A page of public sessions",
            body = Page<SessionView>,
            headers(("Link" = String, description = "The next page, rel=\"next\"; absent on the last one")),
        ),
        (
            status = 403,
            description = "The caller lacks the scope: code `forbidden`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        Refusals,
    ),
)]
pub(super) async fn list(
    State(sources): State<Sources>,
    Inquiry {
        caller,
        wants,
        query,
        turn: _turn,
    }: Inquiry<ListQuery>,
) -> Result<Response, Problem> {
    if !caller.may_read_any() {
        return Err(Problem::forbidden("this takes the scope sessions:read:any"));
    }
    let readers = &sources.readers;
    let ListQuery {
        limit,
        cursor,
        status,
        target_language_code,
        min_seats,
    } = wants;
    let filter = ListFilter {
        status: status.map(SessionStatus::from),
        target_language_code: target_language_code.map(|LanguageTag(tag)| tag),
        min_seats: min_seats.map(Seats::number),
    };
    let filters = [
        status.map(word),
        filter.target_language_code.clone(),
        filter.min_seats.map(|seats| seats.to_string()),
    ];
    let scope = Scope {
        path: LIST,
        caller: caller.user_id.as_str(),
        filters: &filters,
    };
    let after: Option<ListCursor> = readers.place(cursor, &scope).await?;
    let after = after.map(ListPlace::from);
    let page = readers
        .views
        .public_sessions(&filter, after, limit.unwrap_or_default().lines());
    let page = read(page).await?;
    let next = page.next.map(ListCursor::from);
    let next_cursor = readers.cursor(next, &scope).await?;
    let items = page.items.into_iter().map(SessionView::from).collect();
    Ok(paged(LIST, &query, Page { items, next_cursor }))
}

/// A place in a history, as a cursor holds it.
#[derive(Serialize, Deserialize)]
struct HistoryCursor(i64, String);

/// A place in the list, as a cursor holds it.
#[derive(Serialize, Deserialize)]
enum ListCursor {
    Waiting(i64, String),
    Other(String, String, String),
}

impl From<ListCursor> for ListPlace {
    fn from(cursor: ListCursor) -> Self {
        match cursor {
            ListCursor::Waiting(created_at, session_id) => Self::Waiting {
                created_at: Timestamp(created_at),
                session_id: SessionId::from_stored(session_id),
            },
            ListCursor::Other(status, target_language_code, session_id) => Self::Other {
                status,
                target_language_code,
                session_id: SessionId::from_stored(session_id),
            },
        }
    }
}

impl From<ListPlace> for ListCursor {
    fn from(place: ListPlace) -> Self {
        match place {
            ListPlace::Waiting {
                created_at,
                session_id,
            } => Self::Waiting(created_at.0, session_id.to_string()),
            ListPlace::Other {
                status,
                target_language_code,
                session_id,
            } => Self::Other(status, target_language_code, session_id.to_string()),
        }
    }
}

fn word(status: Status) -> String {
    match status {
        Status::Waiting => "waiting",
        Status::Active => "active",
        Status::Ended => "ended",
    }
    .to_owned()
}

/// The session that the path names; an id that no session can have names none.
fn named(path: Result<Path<String>, PathRejection>) -> Result<SessionId, Problem> {
    let Path(id) = path.map_err(|_| Problem::session_not_found())?;
    SessionId::parse(&id).map_err(|_| Problem::session_not_found())
}

/// A page with the link to the next one.
fn paged<T: Serialize>(path: &str, query: &Query, page: Page<T>) -> Response {
    let link = page.next_cursor.as_ref().map(|cursor| {
        let next = format!("<{path}?{}>; rel=\"next\"", query.with_cursor(cursor));
        HeaderValue::try_from(next).expect("a form-encoded query is visible ASCII")
    });
    let mut answer = (StatusCode::OK, Json(page)).into_response();
    if let Some(link) = link {
        answer.headers_mut().insert(header::LINK, link);
    }
    answer
}
