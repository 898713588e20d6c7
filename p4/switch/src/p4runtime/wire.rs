//! The two calls that carry tables, Write and Read, without messages in between: a Write is read from its bytes
//! ([`super::batch`]), entries of a Read are written as bytes. All other calls are the generated server's.

use std::convert::Infallible;

use bytes::Bytes;
use p4runtime_proto::p4::v1::{self, p4_runtime_server::P4RuntimeServer};
use p4runtime_proto::serialized::Serialized;
use prost::{DecodeError, Message};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{self, BoxFuture, Context, Poll, Service, StdError, http},
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
};

use super::service::{Chunks, MAX_MESSAGE, Server};

/// The P4Runtime service for tonic's router.
#[derive(Clone)]
pub struct WireService {
    server: Server,
    rest: P4RuntimeServer<Server>,
}

impl WireService {
    pub fn new(server: Server) -> Self {
        let rest = P4RuntimeServer::new(server.clone());
        let rest = rest.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        WireService { server, rest }
    }
}

impl NamedService for WireService {
    const NAME: &'static str = P4RuntimeServer::<Server>::NAME;
}

impl<B> Service<http::Request<B>> for WireService
where
    B: codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let server = self.server.clone();
        let grpc =
            || Grpc::new(Serialized).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        match request.uri().path() {
            "/p4.v1.P4Runtime/Write" => {
                let mut grpc = grpc();
                Box::pin(async move { Ok(grpc.unary(Write(server), request).await) })
            }
            "/p4.v1.P4Runtime/Read" => {
                let mut grpc = grpc();
                Box::pin(async move { Ok(grpc.server_streaming(Read(server), request).await) })
            }
            _ => self.rest.call(request),
        }
    }
}

struct Write(Server);

impl UnaryService<Bytes> for Write {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            server.write_serialized(&request.into_inner()).await?;
            // A WriteResponse has no fields.
            Ok(Response::new(Bytes::new()))
        })
    }
}

struct Read(Server);

impl ServerStreamingService<Bytes> for Read {
    type Response = Bytes;
    type ResponseStream = Chunks;
    type Future = BoxFuture<Response<Chunks>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let request = v1::ReadRequest::decode(request.into_inner()).map_err(malformed)?;
            Ok(Response::new(server.read_serialized(&request)?))
        })
    }
}

/// The status of a message that cannot be read.
pub fn malformed(error: DecodeError) -> Status {
    Status::internal(error.to_string())
}
