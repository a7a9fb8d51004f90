//! Calls over one connection. A connection carries many calls at a time.

use bytes::{Buf, BufMut, Bytes};
use futures_util::{StreamExt, stream};
use store_api::{Error, Result};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint, Uri},
};

use super::messages::Message;
use crate::engines::failed;

#[derive(Clone)]
pub(crate) struct Connection(Grpc<Channel>);

impl Connection {
    pub(super) async fn open(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(failed)?;
        Ok(Self(Grpc::new(endpoint.tcp_nodelay(true).connect().await.map_err(failed)?)))
    }

    /// Calls a method by its path.
    pub(super) async fn call(&mut self, method: &'static str, message: Message) -> Result<Bytes> {
        self.0.ready().await.map_err(failed)?;
        let method = Uri::from_static(method).path_and_query().cloned().ok_or_else(no_path)?;
        let answer = self.0.unary(Request::new(message.into_bytes()), method, AsBytes).await;
        Ok(answer.map_err(failed)?.into_inner())
    }

    /// Calls a method that answers again and again.
    pub(super) async fn follow(&mut self, method: &'static str, message: Message) -> Result<Streaming<Bytes>> {
        self.0.ready().await.map_err(failed)?;
        let method = Uri::from_static(method).path_and_query().cloned().ok_or_else(no_path)?;
        // The end of the questions would end the answers.
        let questions = stream::iter([message.into_bytes()]).chain(stream::pending());
        let answers = self.0.streaming(Request::new(questions), method, AsBytes).await;
        Ok(answers.map_err(failed)?.into_inner())
    }
}

fn no_path() -> Error {
    failed("a method is called by its path")
}

/// Messages as they are on the wire: what is in them is left to those who write and read them.
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, wire: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        wire.put(message);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, wire: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(wire.copy_to_bytes(wire.remaining())))
    }
}
