//! What programs write for each other as released: changing it takes a new version and a new snapshot.
#![allow(clippy::unwrap_used)]

kho_golden::released! {
    tickets_are_as_released: kho_exec::TICKET, "v1", 5;
    messages_are_as_released: kho_exec::SUPERVISOR, "v1", 3;
}
