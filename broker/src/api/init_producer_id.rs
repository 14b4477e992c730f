//! InitProducerId (22), versions 0–5. Without a transactional id always a new id at epoch 0, whatever id and epoch the
//! request (3+) brings along: clients bump epochs themselves.

use gapless_common::{
    error_code::ErrorCode,
    protocol::messages::{InitProducerIdRequest, InitProducerIdResponse},
    types::ProducerId,
};

use super::reply::Reply;
use super::{ApiError, Incoming};

pub(super) const ERRORS: &[ErrorCode] =
    &[ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED];

pub(super) async fn handle(request: &Incoming, body: &InitProducerIdRequest) -> Result<Reply, ApiError> {
    let refused =
        |error_code| InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
    // Transactions are not served; a final error, so that the client says so at once.
    if body.transactional_id.is_some() {
        return request.answer(&refused(request.count(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)));
    }
    match request.broker.meta.new_producer_id().await {
        Ok(ProducerId(producer_id)) => {
            request.answer(&InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() })
        }
        Err(error) => {
            // Retried by every client: the block of ids can be written once the disk takes it.
            request.broker.say_of_stranger(|| format!("no producer id can be given out: {error}"));
            request.answer(&refused(request.count(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)))
        }
    }
}
