//! The rpcs of tokens.

use std::sync::Arc;

use tonic::Request;

use super::AdminService;
use crate::access::{PlainToken, Token, TokenCommand, TokenName, TokenRefusal};
use crate::grpc::fields::parse;
use crate::grpc::page_token::{Binding, TokenPosition};
use crate::grpc::status::CallError;
use crate::grpc::{convert, proto, request};

impl AdminService {
    pub(super) async fn handle_create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<proto::CreateTokenResponse, CallError> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let secret = match request.token.as_ref().map(|token| token.credential()) {
            Some(proto::Credential::Certificate) => None,
            _ => Some(PlainToken::generate().map_err(CallError::Random)?),
        };
        let hash = secret.as_ref().map(PlainToken::hash);
        let create = parse(|fields| request::create_token(fields, request, hash))?;
        let token = self.change_token(TokenCommand::Create(create), &caller).await?;
        Ok(proto::CreateTokenResponse { token: Some(token), secret: secret_text(secret.as_ref()) })
    }

    pub(super) async fn handle_update_token(
        &self,
        request: Request<proto::UpdateTokenRequest>,
    ) -> Result<proto::UpdateTokenResponse, CallError> {
        let caller = caller(&request)?;
        let update = parse(|fields| request::update_token(fields, request.into_inner()))?;
        let token = self.change_token(TokenCommand::Update(update), &caller).await?;
        Ok(proto::UpdateTokenResponse { token: Some(token) })
    }

    pub(super) async fn handle_rotate_token(
        &self,
        request: Request<proto::RotateTokenRequest>,
    ) -> Result<proto::RotateTokenResponse, CallError> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (name, overlap) = parse(|fields| {
            let name = fields.required("name", &request.name);
            let overlap = fields.overlap("overlap", request.overlap);
            Ok((name?, overlap?))
        })?;
        let secret = PlainToken::generate().map_err(CallError::Random)?;
        let rotate = TokenCommand::Rotate { name, hash: secret.hash(), overlap };
        let token = self.change_token(rotate, &caller).await?;
        Ok(proto::RotateTokenResponse { token: Some(token), secret: secret_text(Some(&secret)) })
    }

    pub(super) async fn handle_revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<proto::RevokeTokenResponse, CallError> {
        let caller = caller(&request)?;
        let name = parse(|fields| fields.required("name", &request.get_ref().name))?;
        let token = self.change_token(TokenCommand::Revoke(name), &caller).await?;
        Ok(proto::RevokeTokenResponse { token: Some(token) })
    }

    pub(super) fn handle_get_token(
        &self,
        request: &proto::GetTokenRequest,
    ) -> Result<proto::GetTokenResponse, CallError> {
        let name: TokenName = parse(|fields| fields.required("name", &request.name))?;
        let tokens = self.handle.tokens();
        let token = tokens.get(&name).ok_or(TokenRefusal::NotFound(name.clone()))?;
        Ok(proto::GetTokenResponse { token: Some(convert::token(token)) })
    }

    pub(super) fn handle_list_tokens(
        &self,
        request: &proto::ListTokensRequest,
    ) -> Result<proto::ListTokensResponse, CallError> {
        let query = proto::ListTokensRequest {
            show_ended: request.show_ended,
            ..proto::ListTokensRequest::default()
        };
        let binding = Binding::new(&self.database_id, "ListTokens", &query);
        let size = parse(|fields| fields.page_size(request.page_size))?;
        let after = binding.position::<TokenPosition>(&request.page_token)?.map(|last| last.name);
        let (tokens, now) = (self.handle.tokens(), self.handle.now());
        let all = || tokens.iter().filter(|token| request.show_ended || token.is_valid(now));
        let is_remaining = |token: &&Arc<Token>| {
            after.as_ref().is_none_or(|after| token.name.as_str() > after.as_str())
        };
        let (page, next_page_token) = binding.page(all().filter(is_remaining), size, |token| {
            TokenPosition { name: token.name.to_string() }
        });
        Ok(proto::ListTokensResponse {
            tokens: page.into_iter().map(|token| convert::token(token)).collect(),
            next_page_token,
            total_size: all().count() as u32,
        })
    }

    async fn change_token(
        &self,
        command: TokenCommand,
        caller: &Token,
    ) -> Result<proto::Token, CallError> {
        let action = match &command {
            TokenCommand::Create(_) => "created",
            TokenCommand::Update(_) => "updated",
            TokenCommand::Rotate { .. } => "rotated",
            TokenCommand::Revoke(_) => "revoked",
        };
        let token = self.handle.change_token(command, caller.name.actor()).await?;
        tracing::info!(
            token = token.name.as_str(),
            role = token.role.name(),
            grants = token.role.grants().map(tracing::field::display),
            expire_time = token.expire_time.map(tracing::field::display),
            actor = caller.name.as_str(),
            "token {action}"
        );
        Ok(convert::token(&token))
    }
}

/// The token of a call: writes are never called without one.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Arc<Token>, CallError> {
    request.extensions().get::<Arc<Token>>().cloned().ok_or(CallError::TokenMissing)
}

fn secret_text(secret: Option<&PlainToken>) -> String {
    secret.map(|secret| secret.reveal().to_owned()).unwrap_or_default()
}
