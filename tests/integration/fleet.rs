//! Nodes and the services that they share: the failures between them, and their recovery without
//! help.

mod behind;
mod changes;
mod failover;
mod healing;
mod litestream;
mod nodes;
mod partition;
mod source;
mod view;
