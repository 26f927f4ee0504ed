-- Reading the text of feeds without raising: a row that cannot be read is a finding, not an error.

-- Digits with at most one point and a leading sign. No SET and no regular expression: inlined, and cheap on millions of rows.
create function is_number(value text) returns boolean language sql immutable as $$
    select translate(value, '0123456789', '') in ('', '.', '-', '-.') and strpos(value, '-') <= 1
        and length(value) <= 60 and value not in ('', '.', '-', '-.')
$$;

-- A time in ISO form (zone optional; without one it is local to the session's time zone), or in the layout's format.
-- Null when it is none: Postgres itself would read 'now' and 'tomorrow', and 02/01 in either order.
create function try_timestamp(value text, format text) returns timestamptz language plpgsql stable as $$
begin
    if format is not null then
        if value is null or value !~ '^[0-9]' then return null; end if;
        -- to_timestamp() reads past what does not fit: written back, leading zeros aside, it must be the same
        if format !~ 'TZ' and regexp_replace(lower(to_char(to_timestamp(value, format), format)), '\m0+(\d)', '\1', 'g')
            <> regexp_replace(lower(value), '\m0+(\d)', '\1', 'g') then return null; end if;
        return to_timestamp(value, format);
    end if;
    if value !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?( ?(Z|[+-][0-9]{2}(:?[0-9]{2})?))?)?$' then
        return null;
    end if;
    return value::timestamptz;
exception when data_exception then
    return null;
end $$;

create function try_date(value text) returns date language plpgsql immutable as $$
begin
    if value !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then return null; end if;
    return value::date;
exception when data_exception then
    return null;
end $$;
