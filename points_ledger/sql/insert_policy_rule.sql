-- Stores one rule of a version. Parameters: the columns. Locks: none. Idempotence: primary key (version, kind, position).
insert into points.policy_rule (
    version, kind, position, name, amount, skus, exclude_skus, categories, stores, channels, weekdays, from_on, through_on,
    min_order_amount)
values (
    :version, :kind, :position, :name, CAST(:amount AS numeric), CAST(:skus AS text []), CAST(:exclude_skus AS text []),
    CAST(:categories AS text []), CAST(:stores AS text []), CAST(:channels AS text []), CAST(:weekdays AS smallint []),
    CAST(:from_on AS date), CAST(:through_on AS date), CAST(:min_order_amount AS numeric))
