-- Small images that analyses leave, for people: so few and so small that they may lie here, where a report reads them without the artifact store.
create table analysis_images (
    task_id digest not null references tasks on delete cascade,
    number integer not null check (number >= 0),
    attempt integer not null,
    name text not null,
    png bytea not null,
    primary key (task_id, number)
);
-- PNG files are compressed already.
alter table analysis_images alter column png set storage external;

create view images as
select a.sweep_id as sweep, a.dataset, a.backbone, a.init, a.recipe, a.seed, a.analysis, a.against, i.name as image, i.png
from sweep_analyses a
join sweeps s using (sweep_id)
join analysis_images i using (task_id)
where s.deleted_at is null
order by s.submitted_at, a.sweep_id, a.position, i.number;
