//! Who acted: `userIdentity` to `actor`.
//!
//! # Input
//! Every kind of `userIdentity`, also none.
//! # Maps to
//! `actor.user`, `actor.session`, `actor.invoked_by`, `actor.idp`.
//! # Known gaps
//! None.
//! # Reference
//! Mapping tables M1 and I1, section 3.3;
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html>.

use super::members::{Taker, places};
use crate::ocsf::{Account, Actor, Idp, Session, User};

places! {
    /// `userIdentity`.
    UserIdentity at "userIdentity" {
        kind = "type",
        principal_id = "principalId",
        arn = "arn",
        account_id = "accountId",
        access_key_id = "accessKeyId",
        credential_id = "credentialId",
        user_name = "userName",
        session_context = "sessionContext",
        invoked_by = "invokedBy",
        identity_provider = "identityProvider",
        web_id_federation_data = "webIdFederationData",
        on_behalf_of = "onBehalfOf",
    }
}

places! {
    /// `userIdentity.sessionContext`.
    SessionContext at "userIdentity.sessionContext" {
        attributes = "attributes",
        session_issuer = "sessionIssuer",
        web_id_federation_data = "webIdFederationData",
    }
}

places! {
    /// `userIdentity.sessionContext.attributes`.
    Attributes at "userIdentity.sessionContext.attributes" {
        creation_date = "creationDate",
        mfa_authenticated = "mfaAuthenticated",
    }
}

places! {
    /// `userIdentity.sessionContext.sessionIssuer`.
    SessionIssuer at "userIdentity.sessionContext.sessionIssuer" { arn = "arn" }
}

places! {
    /// `userIdentity.sessionContext.webIdFederationData`.
    SessionFederation at "userIdentity.sessionContext.webIdFederationData" {
        provider = "federatedProvider",
    }
}

places! {
    /// `userIdentity.webIdFederationData`.
    Federation at "userIdentity.webIdFederationData" { provider = "federatedProvider" }
}

places! {
    /// `userIdentity.onBehalfOf`.
    OnBehalfOf at "userIdentity.onBehalfOf" {
        user_id = "userId",
        identity_store_arn = "identityStoreArn",
    }
}

/// The actor as the record has it, before any placeholder.
pub(super) fn actor<'a>(
    raw: Option<&'a str>,
    user_name: Option<&'a str>,
    taker: &mut Taker<'a>,
) -> Actor<'a> {
    let identity = UserIdentity::read(raw, taker);
    let context = SessionContext::read(identity.session_context, taker);
    let attributes = Attributes::read(context.attributes, taker);
    let issuer = SessionIssuer::read(context.session_issuer, taker);
    let behalf = OnBehalfOf::read(identity.on_behalf_of, taker);
    let inner = SessionFederation::read(context.web_id_federation_data, taker);
    let outer = Federation::read(identity.web_id_federation_data, taker);

    let kind = taker.text("userIdentity.type", identity.kind);
    let principal_id = taker.text("userIdentity.principalId", identity.principal_id);
    let uid_alt =
        or_else(taker, principal_id, &[("userIdentity.onBehalfOf.userId", behalf.user_id)]);
    let access_key_id = taker.text("userIdentity.accessKeyId", identity.access_key_id);
    let credential_uid =
        or_else(taker, access_key_id, &[("userIdentity.credentialId", identity.credential_id)]);
    let provider = or_else(
        taker,
        None,
        &[
            ("userIdentity.sessionContext.webIdFederationData.federatedProvider", inner.provider),
            ("userIdentity.webIdFederationData.federatedProvider", outer.provider),
            ("userIdentity.identityProvider", identity.identity_provider),
        ],
    );
    let name = taker.text("userIdentity.userName", identity.user_name);
    let name = or_else(taker, name, &[("additionalEventData.UserName", user_name)]);
    let created =
        taker.time("userIdentity.sessionContext.attributes.creationDate", attributes.creation_date);
    Actor {
        user: User {
            r#type: kind,
            type_id: kind.map(type_id),
            name,
            uid: taker.text("userIdentity.arn", identity.arn),
            uid_alt,
            credential_uid,
            account: Account { uid: taker.text("userIdentity.accountId", identity.account_id) },
        },
        session: Session {
            issuer: taker.text("userIdentity.sessionContext.sessionIssuer.arn", issuer.arn),
            is_mfa: taker.boolean(
                "userIdentity.sessionContext.attributes.mfaAuthenticated",
                attributes.mfa_authenticated,
            ),
            created_time: created,
            created_time_dt: created,
            ..Session::default()
        },
        invoked_by: taker.text("userIdentity.invokedBy", identity.invoked_by),
        idp: Idp {
            name: provider,
            uid: taker.text("userIdentity.onBehalfOf.identityStoreArn", behalf.identity_store_arn),
        },
    }
}

/// The first text there is; choices behind it go to `unmapped`.
pub(super) fn or_else<'a>(
    taker: &mut Taker<'a>,
    mut chosen: Option<&'a str>,
    choices: &[(&'static str, Option<&'a str>)],
) -> Option<&'a str> {
    for &(path, raw) in choices {
        if chosen.is_none() {
            chosen = taker.text(path, raw);
        } else {
            taker.leave(path, raw);
        }
    }
    chosen
}

/// Table I1.
pub(crate) fn type_id(kind: &str) -> i32 {
    match kind {
        "Unknown" => 0,
        "IAMUser" | "FederatedUser" | "SAMLUser" | "WebIdentityUser" | "Directory"
        | "IdentityCenterUser" => 1,
        "Root" => 2,
        "AWSService" => 3,
        _ => 99,
    }
}

/// Fills what OCSF requires of a user and an actor (section 3.3); `required` for API Activity.
pub(super) fn complete<'a>(actor: &mut Actor<'a>, source: Option<&'a str>, required: bool) {
    let user = &mut actor.user;
    let named = user.uid.is_some() || user.name.is_some() || user.account.uid.is_some();
    if !named && !user.is_absent() {
        user.uid = user.uid_alt.or(actor.invoked_by).or(source).or(Some("Unknown"));
    }
    let someone = !user.is_absent() || !actor.session.is_absent() || actor.invoked_by.is_some();
    if !someone && (required || !actor.idp.is_absent()) {
        actor.invoked_by = source.or(Some("Unknown"));
    }
}
