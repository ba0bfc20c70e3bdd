//! Nodes and the services that they share: what breaks between them, and that it heals by itself.

mod healing;
mod partition;
mod source;
mod view;
